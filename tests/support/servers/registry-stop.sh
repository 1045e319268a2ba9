#!/usr/bin/env bash
# registry-stop.sh DATA [-9] - ends what registry-start.sh started, the identity provider of a secured one included, and waits until it is gone.
HERE=$(dirname "$0"); DATA=${1:?}; shift
bash "$HERE/s3-stop.sh" "$DATA/provider" "$@"
exec bash "$HERE/s3-stop.sh" "$DATA" "$@"
