#!/usr/bin/env bash
# reference-install.sh DIR - venv with PyTorch on the CPU and Hugging Face's libraries (idempotent). PY=python3 by default.
# DIR/libtorch is then what C++ and Rust build against: PyTorch's headers, and its libraries without those for CUDA.
set -euo pipefail
DIR=${1:?usage: reference-install.sh DIR}
PY=${PY:-python3}
TORCH="torch==2.9.0"
PINS="transformers==5.24.0 tokenizers==0.23.3 safetensors==0.8.0 jinja2==3.1.6 numpy==2.4.6 sympy networkx filelock fsspec typing-extensions"
MARK="$TORCH $PINS 2"
mkdir -p "$DIR"; DIR=$(cd "$DIR" && pwd)
if [ "$(cat "$DIR/.pins" 2>/dev/null)" = "$MARK" ]; then echo "reference: already installed in $DIR"; exit 0; fi
# what a broken download left would be half a library
rm -rf "$DIR/lib" "$DIR/libtorch" "$DIR/bin"
"$PY" -m venv "$DIR"
get() { "$DIR/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --no-compile "$@"; }
# shellcheck disable=SC2086
get $PINS
# its wheel of 900 MB would lie in pip's cache once more
get --no-cache-dir --no-deps "$TORCH"
SITE=$("$DIR/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
LIB=$SITE/torch/lib
needs() { readelf -d "$@" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u; }
symbols() { nm -D "$@" | awk 'NF == 2 || NF == 3 { print $NF }' | LC_ALL=C sort -u; }

# The wheel for x86 is built for CUDA and wants libraries of 2.6 GB to be there when it is loaded, none of which is called on a CPU.
# The two small ones that are called while it is loaded are real; the others are one library in which every function aborts.
if [ -e "$LIB/libtorch_cuda.so" ]; then
  real=$("$DIR/bin/python" -c 'import importlib.metadata as m; print(*[r.split(";")[0] for r in m.requires("torch") if "cuda-runtime" in r or "cuda-cupti" in r])')
  # shellcheck disable=SC2086
  get --no-deps $real
  ln -sf "$SITE"/nvidia/cuda_runtime/lib/libcudart.so.* "$SITE"/nvidia/cuda_cupti/lib/libcupti.so.* "$LIB"
  loaded=("$LIB"/libtorch{,_cpu,_cuda,_python,_nvshmem}.so "$LIB"/libc10{,_cuda}.so)
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  symbols --defined-only "${loaded[@]}" "$LIB"/lib{cudart,cupti,gomp}.so.* | sed 's/@.*//' | LC_ALL=C sort -u > "$work/defined"
  # those of the C and C++ runtimes and Python's own are there
  symbols --undefined-only "${loaded[@]}" | grep -vE '@+(GLIBC|GCC|CXXABI)|^Py|^_' > "$work/wanted"
  awk -F@ 'NR == FNR { have[$1]; next } !($1 in have)' "$work/defined" "$work/wanted" > "$work/absent"
  awk -F@ 'BEGIN { print "#include <stdlib.h>" } !seen[$1]++ { print "void " $1 "(void) { abort(); }" }' "$work/absent" > "$work/absent.c"
  awk -F@ 'NF > 1 { of[$NF] = of[$NF] " " $1 ";" } END { for (v in of) print v " { global:" of[v] " };" }' "$work/absent" > "$work/absent.map"
  ${CC:-cc} -shared -fPIC -w -Wl,--version-script="$work/absent.map" -o "$LIB/libabsent.so" "$work/absent.c"
  for name in $(needs "${loaded[@]}"); do
    case $name in libcu*|libnccl*|libnvshmem*) [ -e "$LIB/$name" ] || ln -s libabsent.so "$LIB/$name" ;; esac
  done
fi

mkdir -p "$DIR/libtorch"
ln -sfn "$SITE/torch/include" "$DIR/libtorch/include"
if [ ! -e "$LIB/libtorch_cuda.so" ]; then
  ln -sfn "$LIB" "$DIR/libtorch/lib"
else
  mkdir -p "$DIR/libtorch/lib"
  ln -sf "$LIB"/lib{c10,torch_cpu,shm}.so "$LIB"/lib{gomp,cudart,cupti}.so.* "$DIR/libtorch/lib/"
  # libtorch.so holds nothing but the names of the libraries that are the whole; this one names the CPU's.
  echo | ${CC:-cc} -shared -fPIC -x c -Wl,--no-as-needed,-soname,libtorch.so,-rpath,'$ORIGIN' -o "$DIR/libtorch/lib/libtorch.so" - \
    -L"$DIR/libtorch/lib" -ltorch_cpu -Wl,--allow-shlib-undefined
fi
"$DIR/bin/python" -c 'import torch, transformers; print("torch", torch.__version__, "transformers", transformers.__version__); print(torch.linalg.svdvals(torch.eye(3)).sum())'
"$DIR/bin/python" -c 'import torch; print(torch.__version__)' > "$DIR/libtorch/build-version"
printf '%s' "$MARK" > "$DIR/.pins"
