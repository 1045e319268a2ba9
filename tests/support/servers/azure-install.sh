#!/usr/bin/env bash
# azure-install.sh DIR - Azurite, Microsoft's emulator of Azure Blob Storage, from npm into DIR. Idempotent.
set -euo pipefail
DIR=${1:?usage: azure-install.sh DIR}
V=${AZURITE_VERSION:-3.35.0}
mkdir -p "$DIR"; DIR=$(cd "$DIR" && pwd)
if [ "$(cat "$DIR/.azurite" 2>/dev/null)" = "$V" ]; then echo "azure: azurite $V already installed"; exit 0; fi
command -v node > /dev/null && command -v npm > /dev/null || { echo "azure: node and npm are missing" >&2; exit 1; }
cd "$DIR" && npm install --silent --no-audit --no-fund --no-save --prefix "$DIR" "azurite@$V"
printf %s "$V" > "$DIR/.azurite"; echo "azure: azurite $V"
