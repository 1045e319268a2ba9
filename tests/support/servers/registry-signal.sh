#!/usr/bin/env bash
# registry-signal.sh DATA SIGNAL - sends the server started by registry-start.sh a signal: -STOP freezes it, -CONT has it go on.
set -euo pipefail
kill "${2:?}" "$(cat "${1:?}/pid")"
