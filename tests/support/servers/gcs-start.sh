#!/usr/bin/env bash
# gcs-start.sh DIR DATA PORT - starts it on 127.0.0.1:PORT, in memory, with the bucket `nocturne`. Stop: s3-stop.sh DATA [-9].
set -euo pipefail
DIR=$(cd "${1:?usage: gcs-start.sh DIR DATA PORT}" && pwd); DATA=${2:?}; PORT=${3:?}
mkdir -p "$DATA"; DATA=$(cd "$DATA" && pwd)
setsid nohup "$DIR/gcs" "$PORT" < /dev/null > "$DATA/log" 2>&1 &
P=$!; echo "$P" > "$DATA/pid"
for _ in $(seq 300); do
  kill -0 "$P" 2>/dev/null || break
  # the bucket is there before it listens
  if (: < "/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then echo "gcs: ready on http://127.0.0.1:$PORT bucket nocturne"; exit 0; fi
  sleep 0.1
done
tail -20 "$DATA/log" >&2; echo "gcs: not ready" >&2; exit 1
