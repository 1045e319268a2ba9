#!/usr/bin/env bash
# cuda-pack.sh DIR - builds what a machine with a GPU needs into DIR: carry it there and run DIR/cuda-run.sh. Neither a GPU nor CUDA is needed here.
# Built with every optimization, which the profile of development leaves out: what a small model on a GPU waits for is the host that launches its kernels.
# The first build downloads LLVM from github.com, which is what CUDA kernels are compiled with when they are first run (the crate tracel-llvm-bundler).
set -euo pipefail
out=${1:?usage: cuda-pack.sh DIR}; mkdir -p "$out"; out=$(cd "$out" && pwd)
cd "$(dirname "$0")/../../.."
suite=$(cargo test --release -p nocturne-model --features cuda --test conformance --no-run 2>&1 | tee /dev/stderr | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
cargo build --release -p nocturne --features cuda
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
strip -o "$out/conformance" "$suite"
strip -o "$out/nocturne" "$target/release/nocturne"
cp crates/model/scripts/cuda-run.sh "$out"
ls -l "$out"
