#!/usr/bin/env bash
# gcs-install.sh DIR - gcs.go over fake-gcs-server, an emulator of Google Cloud Storage, built from Go modules into DIR. Idempotent.
set -euo pipefail
DIR=${1:?usage: gcs-install.sh DIR}
V=${FAKE_GCS_VERSION:-v1.56.1}; SOURCE=$(cd "$(dirname "$0")" && pwd)/gcs.go; MARK="$V $(cksum < "$SOURCE")"
mkdir -p "$DIR"; DIR=$(cd "$DIR" && pwd)
if [ -x "$DIR/gcs" ] && [ "$(cat "$DIR/.gcs" 2>/dev/null)" = "$MARK" ]; then echo "gcs: fake-gcs-server $V already installed"; exit 0; fi
command -v go > /dev/null || { echo "gcs: go is missing" >&2; exit 1; }
# a module of its own: it takes the versions that the server itself was released with
rm -rf "$DIR/source"; mkdir "$DIR/source"; cp "$SOURCE" "$DIR/source"; cd "$DIR/source"
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off
go mod init gcs 2> /dev/null; go get "github.com/fsouza/fake-gcs-server/fakestorage@$V"
go build -trimpath -ldflags='-s -w' -o "$DIR/gcs" .
printf %s "$MARK" > "$DIR/.gcs"; echo "gcs: fake-gcs-server $V"
