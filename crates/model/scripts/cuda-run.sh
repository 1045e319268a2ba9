#!/usr/bin/env bash
# cuda-run.sh [OUT] - the conformance suite and the benchmarks on this machine's NVIDIA GPU, from the folder that cuda-pack.sh made. No network is needed.
# OUT (./cuda-results) gets what they print, bench-train-*.json and bench-model-*/report.json. Fails when a check fails, or when there is no GPU to check.
# Of CUDA it takes the driver and libdevice.10.bc, NVIDIA's mathematical library: from CUDA_PATH, a toolkit in its usual place, Python's packages
# (nvidia-cuda-nvcc), or the folder nvvm/libdevice beside this script.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-cuda-results}; mkdir -p "$out"; out=$(cd "$out" && pwd)
if [ ! -e "${CUDA_PATH:-}/nvvm/libdevice/libdevice.10.bc" ]; then
  sites=$(python3 -c 'import site, sys; print(*site.getsitepackages(), *sys.path)' 2>/dev/null || true)
  places=$(for site in $sites; do printf '%s\n' "$site"/nvidia/*; done)
  for place in "$here" /usr/local/cuda* /opt/cuda /usr/lib/cuda $places; do
    if [ -e "$place/nvvm/libdevice/libdevice.10.bc" ]; then export CUDA_PATH=$place; break; fi
  done
fi
echo "CUDA_PATH=${CUDA_PATH:-}: $(ls "${CUDA_PATH:-/nowhere}/nvvm/libdevice/libdevice.10.bc" 2>/dev/null || echo 'no libdevice.10.bc was found; carry one')"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true

failed=0
"$here/conformance" 2>&1 | tee "$out/conformance.txt" || failed=1
if grep '^SKIPPED cuda: ' "$out/conformance.txt" >/dev/null; then echo "there is no GPU to check" >&2; exit 1; fi
for device in cuda flex; do
  "$here/nocturne" bench train --device "$device" --json "$out/bench-train-$device.json" 2>&1 | tee "$out/bench-train-$device.txt" || failed=1
  # A model that a GPU can be busy with; on the CPU it is what to compare with.
  "$here/nocturne" bench model --speed --mixer attention,gated-delta,hope --context 1024,4096 --width 512 --blocks 8 --device "$device" \
    --out "$out/bench-model-$device" 2>&1 | tee "$out/bench-model-$device.txt" || failed=1
done
exit $failed
