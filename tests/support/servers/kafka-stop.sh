#!/usr/bin/env bash
# kafka-stop.sh DATA [-9] [NODE] - stops every node (or one) started by kafka-start.sh; -9 kills.
DATA=${1:?}; shift; SIG=-TERM; [ "${1:-}" = -9 ] && { SIG=-9; shift; }
pids=()
for f in "$DATA"/n${1:-*}/pid; do [ -f "$f" ] && { pid=$(cat "$f"); kill $SIG "$pid" 2>/dev/null && pids+=("$pid"); rm -f "$f"; }; done
for _ in $(seq 200); do alive=0; for p in "${pids[@]}"; do [ -d "/proc/$p" ] && ! grep -q '^State:.Z' "/proc/$p/status" 2>/dev/null && alive=1; done; [ $alive = 0 ] && exit 0; sleep 0.05; done
kill -9 "${pids[@]}" 2>/dev/null
