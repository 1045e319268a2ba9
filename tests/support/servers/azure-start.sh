#!/usr/bin/env bash
# azure-start.sh DIR DATA PORT KEY - starts it on 127.0.0.1:PORT, in memory, with the container `nocturne` of the account devstoreaccount1, whose key is KEY.
# Stop: s3-stop.sh DATA [-9].
set -euo pipefail
DIR=$(cd "${1:?usage: azure-start.sh DIR DATA PORT KEY}" && pwd); DATA=${2:?}; PORT=${3:?}; KEY=${4:?}
mkdir -p "$DATA"; DATA=$(cd "$DATA" && pwd)
setsid nohup node "$DIR/node_modules/azurite/dist/src/blob/main.js" --inMemoryPersistence --disableTelemetry --silent --skipApiVersionCheck \
  --blobHost 127.0.0.1 --blobPort "$PORT" < /dev/null > "$DATA/log" 2>&1 &
echo $! > "$DATA/pid"
# a request to make a container is signed with the account's key
python3 - "$PORT" "$KEY" "$(cat "$DATA/pid")" <<'P' || { tail -20 "$DATA/log" >&2; exit 1; }
import base64, datetime, hashlib, hmac, os, sys, time, urllib.error, urllib.request
port, key, pid = sys.argv[1], base64.b64decode(sys.argv[2]), int(sys.argv[3])
account, version, end = "devstoreaccount1", "2021-08-06", time.time() + 60
while True:
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    text = "PUT" + "\n" * 12 + f"x-ms-date:{now}\nx-ms-version:{version}\n/{account}/{account}/nocturne\nrestype:container"
    signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    headers = {"x-ms-date": now, "x-ms-version": version, "Authorization": f"SharedKey {account}:{signature}", "Content-Length": "0"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{account}/nocturne?restype=container", method="PUT", headers=headers)
    try: urllib.request.urlopen(request, timeout=5).read(); break
    except urllib.error.HTTPError as refused: sys.exit(f"azure: {refused.code} {refused.read().decode()}")
    except OSError:
        os.kill(pid, 0)
        if time.time() > end: sys.exit("azure: not ready")
        time.sleep(0.1)
P
echo "azure: ready on http://127.0.0.1:$PORT container nocturne"
