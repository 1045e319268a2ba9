#!/usr/bin/env bash
# registry-stop.sh DATA [-9] - ends the server started by registry-start.sh and waits until it is gone.
exec bash "$(dirname "$0")/s3-stop.sh" "$@"
