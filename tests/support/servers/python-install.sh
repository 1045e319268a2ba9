#!/usr/bin/env bash
# python-install.sh DIR - venv with the pinned foreign clients (idempotent). PY=python3 by default.
set -euo pipefail
DIR=${1:?usage: python-install.sh DIR}
PY=${PY:-python3}
# what its client of schema registries needs is named one by one: its extra asks for a certifi that is not published
REGISTRY="attrs==26.1.0 authlib==1.9.9 cachetools==8.0.1 certifi==2026.10.18 httpx2==2.16.2"
PINS="confluent-kafka==2.16.1 $REGISTRY duckdb==2.0.0 pyarrow==26.0.1 boto3==1.44.5 fastavro==1.13.1 ${EXTRA_PINS:-}"
mkdir -p "$DIR"; DIR=$(cd "$DIR" && pwd)
if [ -x "$DIR/bin/python" ] && [ "$(cat "$DIR/.pins" 2>/dev/null)" = "$PINS" ]; then echo "python: already installed in $DIR"; exit 0; fi
[ -x "$DIR/bin/python" ] || "$PY" -m venv "$DIR"
# shellcheck disable=SC2086
"$DIR/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: $PINS
"$DIR/bin/python" -c 'import confluent_kafka, confluent_kafka.schema_registry.avro, duckdb, pyarrow, boto3, fastavro; print("librdkafka", confluent_kafka.libversion()[0], "duckdb", duckdb.__version__, "pyarrow", pyarrow.__version__)'
printf '%s' "$PINS" > "$DIR/.pins"
