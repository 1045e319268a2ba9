#!/usr/bin/env bash
# s3-start.sh DIR DATA PORT [versitygw|moto] - starts it on 127.0.0.1:PORT, key test / testtest, region us-east-1,
# path-style, with the bucket `nocturne`. Data (moto: none, it is in memory) in DATA/buckets, pid in DATA/pid, log in DATA/log.
# Stop: s3-stop.sh DATA [-9] (waits until the process is gone: a restart right after a bare kill would find it still alive).
set -euo pipefail
DIR=$(cd "${1:?usage: s3-start.sh DIR DATA PORT [versitygw|moto]}" && pwd); DATA=${2:?}; PORT=${3:?}; KIND=${4:-versitygw}
BUCKET=${BUCKET:-nocturne}
mkdir -p "$DATA"; DATA=$(cd "$DATA" && pwd)
if [ -f "$DATA/pid" ] && kill -0 "$(cat "$DATA/pid")" 2>/dev/null; then echo "s3: already running"; exit 0; fi
case $KIND in
versitygw)
  mkdir -p "$DATA/buckets/$BUCKET"      # a folder is a bucket, owned by the root key
  # objects' attributes go to extended attributes; where the file system has none, to a folder beside
  ARGS=(); if python3 - "$DATA" <<'P' 2>/dev/null
import os, sys
f = sys.argv[1] + "/.x"; open(f, "w").close(); os.setxattr(f, "user.t", b"1")
P
  then :; else mkdir -p "$DATA/meta"; ARGS=(--sidecar "$DATA/meta"); fi
  setsid nohup "$DIR/versitygw" --access test --secret testtest --region us-east-1 --port "127.0.0.1:$PORT" --health /health --quiet \
    posix "${ARGS[@]}" "$DATA/buckets" < /dev/null > "$DATA/log" 2>&1 &
  echo $! > "$DATA/pid"; URL="http://127.0.0.1:$PORT/health" ;;
moto)
  setsid nohup "$DIR/moto/bin/moto_server" -H 127.0.0.1 -p "$PORT" < /dev/null > "$DATA/log" 2>&1 &
  echo $! > "$DATA/pid"; URL="http://127.0.0.1:$PORT/moto-api/" ;;
esac
python3 - "$URL" "$(cat "$DATA/pid")" <<'P' || { tail -20 "$DATA/log" >&2; exit 1; }
import os, sys, time, urllib.request
end = time.time() + 30
while True:
    try: urllib.request.urlopen(sys.argv[1], timeout=2).read(); break
    except OSError:
        os.kill(int(sys.argv[2]), 0)
        if time.time() > end: sys.exit("s3: not ready")
        time.sleep(0.05)
P
[ "$KIND" = moto ] && curl -sf -X PUT "http://127.0.0.1:$PORT/$BUCKET" -H 'Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0' > /dev/null
echo "s3: $KIND ready on http://127.0.0.1:$PORT bucket $BUCKET"
