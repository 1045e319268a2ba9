#!/usr/bin/env bash
# tch-suite.sh [ARGUMENT...] - the conformance suite with LibTorch on the CPU. Arguments go to the suite: `tch: hope`, `--list`.
# LibTorch is what tests/support/servers/reference-install.sh keeps in the tests' cache, PyTorch 2.9.0 from PyPI; LIBTORCH names another one.
set -euo pipefail
cd "$(dirname "$0")/../../.."
if [ -z "${LIBTORCH:-}" ]; then
  cache=${NOCTURNE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nocturne-tests}
  mkdir -p "$cache"
  flock "$cache/reference.lock" bash tests/support/servers/reference-install.sh "$cache/reference" >&2
  LIBTORCH=$cache/reference/libtorch
fi
export LIBTORCH LD_LIBRARY_PATH=$LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
log=$(mktemp); trap 'rm -f "$log"' EXIT
cargo test -p nocturne-model --features tch --test conformance -- "$@" | tee "$log"
if grep '^SKIPPED tch: ' "$log" >&2; then exit 1; fi
