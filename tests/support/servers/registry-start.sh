#!/usr/bin/env bash
# registry-start.sh DIR DATA PORT - starts the registry of registry-install.sh on 127.0.0.1:PORT, with Confluent's API under /apis/ccompat/v7.
# LOGIN=user:password has it speak TLS only, with a certificate of the authority DATA/certs/ca.crt, and let in nobody else; an identity provider then
# runs on PORT+1. Pid in DATA/pid, log in DATA/log. Stop: registry-stop.sh DATA [-9]. What was registered is in memory: a restart begins anew.
set -euo pipefail
DIR=$(cd "${1:?usage: registry-start.sh DIR DATA PORT}" && pwd); DATA=${2:?}; PORT=${3:?}; LOGIN=${LOGIN:-}
HERE=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$DATA"; DATA=$(cd "$DATA" && pwd)
if [ -f "$DATA/pid" ] && kill -0 "$(cat "$DATA/pid")" 2>/dev/null; then echo "registry: already running"; exit 0; fi
cd "$DATA"
URL=http://127.0.0.1:$PORT; SECURE=()
if [ -n "$LOGIN" ]; then
  URL=https://127.0.0.1:$PORT; PROVIDER=http://127.0.0.1:$((PORT + 1))
  bash "$HERE/kafka-certs.sh" "$DATA/certs"
  mkdir -p provider
  # one that outlived its registry holds the port
  bash "$HERE/s3-stop.sh" provider -9
  [ -f provider/key ] || openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out provider/key 2> /dev/null
  setsid nohup python3 "$HERE/registry-login.py" "$((PORT + 1))" provider/key "$LOGIN" < /dev/null > provider/log 2>&1 &
  echo $! > provider/pid
  SECURE=(-Dquarkus.http.ssl-port="$PORT" -Dquarkus.http.insecure-requests=disabled
    -Dquarkus.http.ssl.certificate.files="$DATA/certs/broker.crt" -Dquarkus.http.ssl.certificate.key-files="$DATA/certs/broker.key"
    -Dregistry.auth.enabled=true -Dregistry.auth.basic-auth-client-credentials.enabled=true
    -Dquarkus.oidc.auth-server-url="$PROVIDER" -Dregistry.auth.token.endpoint="$PROVIDER/token")
fi
setsid nohup java -Xshare:auto -Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError -Djava.net.preferIPv4Stack=true \
  -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$PORT" -Dquarkus.log.level=WARN "${SECURE[@]}" ${REGISTRY_OPTS:-} \
  -jar "$DIR/app/registry.jar" < /dev/null > "$DATA/log" 2>&1 &
echo $! > "$DATA/pid"
python3 - "$URL/apis/ccompat/v7/subjects" "$(cat "$DATA/pid")" "$LOGIN" <<'P' || { grep -m 6 -E 'ERROR|Caused' "$DATA/log" | cut -c1-300 >&2; bash "$HERE/registry-stop.sh" "$DATA" -9; exit 1; }
import base64, os, ssl, sys, time, urllib.request
url, pid, login = sys.argv[1:]
asked = urllib.request.Request(url, headers={"authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {})
trusted = ssl.create_default_context(cafile="certs/ca.crt") if login else None
end = time.time() + 90
while True:
    try: urllib.request.urlopen(asked, timeout=5, context=trusted).read(); break
    except OSError:
        try: os.kill(int(pid), 0)
        except ProcessLookupError: sys.exit("registry: it ended")
        if time.time() > end: sys.exit("registry: not ready")
        time.sleep(0.2)
P
echo "registry: ready on $URL/apis/ccompat/v7"
