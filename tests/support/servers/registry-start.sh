#!/usr/bin/env bash
# registry-start.sh DIR DATA PORT - starts the registry of registry-install.sh on 127.0.0.1:PORT, with Confluent's API under /apis/ccompat/v7.
# Pid in DATA/pid, log in DATA/log. Stop: registry-stop.sh DATA [-9]. What was registered is in memory: a restart begins anew.
set -euo pipefail
DIR=$(cd "${1:?usage: registry-start.sh DIR DATA PORT}" && pwd); DATA=${2:?}; PORT=${3:?}
mkdir -p "$DATA"; DATA=$(cd "$DATA" && pwd)
if [ -f "$DATA/pid" ] && kill -0 "$(cat "$DATA/pid")" 2>/dev/null; then echo "registry: already running"; exit 0; fi
cd "$DATA"
setsid nohup java -Xshare:auto -Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError -Djava.net.preferIPv4Stack=true \
  -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$PORT" -Dquarkus.log.level=WARN ${REGISTRY_OPTS:-} \
  -jar "$DIR/app/registry.jar" < /dev/null > "$DATA/log" 2>&1 &
echo $! > "$DATA/pid"
python3 - "http://127.0.0.1:$PORT/apis/ccompat/v7/subjects" "$(cat "$DATA/pid")" <<'P' || { grep -m 6 -E 'ERROR|Caused' "$DATA/log" | cut -c1-300 >&2; kill -9 "$(cat "$DATA/pid")" 2>/dev/null || true; exit 1; }
import os, sys, time, urllib.request
end = time.time() + 90
while True:
    try: urllib.request.urlopen(sys.argv[1], timeout=5).read(); break
    except OSError:
        try: os.kill(int(sys.argv[2]), 0)
        except ProcessLookupError: sys.exit("registry: it ended")
        if time.time() > end: sys.exit("registry: not ready")
        time.sleep(0.2)
P
echo "registry: ready on http://127.0.0.1:$PORT/apis/ccompat/v7"
