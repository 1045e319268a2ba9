#!/usr/bin/env bash
# registry-install.sh DIR - Apicurio Registry, which speaks Confluent's API under /apis/ccompat/v7, from Maven Central into DIR/app. Idempotent.
set -euo pipefail
DIR=${1:?usage: registry-install.sh DIR}
# the last line of releases that runs on Java 17
V=${APICURIO_VERSION:-2.6.13.Final}
mkdir -p "$DIR"; DIR=$(cd "$DIR" && pwd)
if [ "$(cat "$DIR/.version" 2>/dev/null)" = "$V" ]; then echo "registry: already installed in $DIR"; exit 0; fi
command -v java > /dev/null || { echo "registry: java is missing" >&2; exit 1; }
rm -rf "$DIR/app" "$DIR/new"; mkdir -p "$DIR/new" "$DIR/app"
cd "$DIR/new" && mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
  -Dartifact="io.apicurio:apicurio-registry-app:$V:tar.gz:all" -DoutputDirectory="$DIR/new" -Dmdep.useBaseVersion=true
tar -xzf "$DIR"/new/*.tar.gz -C "$DIR/app"
# what was unpacked is what is needed; the archive would be kept twice
rm -rf "$DIR/new"
mv "$DIR"/app/*-runner.jar "$DIR/app/registry.jar" || { echo "registry: nothing to run was unpacked" >&2; exit 1; }
printf %s "$V" > "$DIR/.version"
echo "registry $V: $(du -sm "$DIR/app" | cut -f1) MB in $DIR/app"
