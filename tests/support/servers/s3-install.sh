#!/usr/bin/env bash
# s3-install.sh DIR [versitygw|moto] - an S3 server to test against, put into DIR. Idempotent.
set -euo pipefail
DIR=${1:?usage: s3-install.sh DIR [versitygw|moto]}; KIND=${2:-versitygw}
mkdir -p "$DIR"; DIR=$(cd "$DIR" && pwd)
case $KIND in
versitygw)
  V=${VERSITYGW_VERSION:-v1.8.0}
  if [ -x "$DIR/versitygw" ] && [ "$(cat "$DIR/.versitygw" 2>/dev/null)" = "$V" ]; then echo "s3: versitygw $V already installed"; exit 0; fi
  # from an empty folder, so that no go.mod around it is read; no cgo and no debug tables: a faster link.
  # VGW_GCFLAGS='all=-N -l' takes a third off the build's processor time, for a slower server
  cd "$DIR" && GOBIN="$DIR" CGO_ENABLED=0 GOFLAGS=-buildvcs=false go install -trimpath -ldflags='-s -w' ${VGW_GCFLAGS:+"-gcflags=$VGW_GCFLAGS"} "github.com/versity/versitygw/cmd/versitygw@$V"
  printf %s "$V" > "$DIR/.versitygw"; "$DIR/versitygw" --version | head -1 ;;
moto)
  V=${MOTO_VERSION:-5.2.5}
  if [ "$(cat "$DIR/moto/.moto" 2>/dev/null)" = "$V" ]; then echo "s3: moto $V already installed"; exit 0; fi
  [ -x "$DIR/moto/bin/python" ] || "${PY:-python3}" -m venv "$DIR/moto"
  # moto[server] brings every service's needs (317 MB, 56 s); S3 alone needs less than half
  "$DIR/moto/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: "moto[s3]==$V" flask flask-cors
  printf %s "$V" > "$DIR/moto/.moto"; echo "s3: moto $V" ;;
*) echo "unknown kind $KIND" >&2; exit 2 ;;
esac
