#!/usr/bin/env bash
# s3-stop.sh DATA [-9] - ends the server started by s3-start.sh and waits until it is gone.
DATA=${1:?}; SIG=${2:--TERM}; [ -f "$DATA/pid" ] || exit 0; P=$(cat "$DATA/pid"); rm -f "$DATA/pid"
kill "$SIG" "$P" 2>/dev/null || exit 0
for _ in $(seq 100); do [ -d "/proc/$P" ] && ! grep -q '^State:.Z' "/proc/$P/status" 2>/dev/null || exit 0; sleep 0.05; done; kill -9 "$P" 2>/dev/null
