#!/usr/bin/env bash
# disk-mount.sh DATA BYTES - a file system of so many bytes in DATA/disk, in memory; needs the right to mount.
set -euo pipefail
DATA=${1:?usage: disk-mount.sh DATA BYTES}; BYTES=${2:?}
mkdir -p "$DATA/disk"; mount -t tmpfs -o "size=$BYTES" tmpfs "$DATA/disk"
