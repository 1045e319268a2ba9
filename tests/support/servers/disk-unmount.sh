#!/usr/bin/env bash
# disk-unmount.sh DATA - takes away what disk-mount.sh made, whoever still uses it.
! mountpoint -q "${1:?}/disk" || umount -l "$1/disk"
