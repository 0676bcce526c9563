#!/usr/bin/env bash
# Runs the tests of all operations that have CUDA kernels on these kernels, compiled as C++ for the processor.
#
# Usage: scripts/test-emulated.sh [OPTION..], options of cargo test
set -euo pipefail
cd "$(dirname "$0")/.."
tests=()
for file in crates/{ops,ssm,layers,rgb-net,features,losses}/tests/*.rs; do
    name=$(basename "$file" .rs)
    # The graph has no kernels; whole networks are too slow this way.
    [ "$name" = graph ] || tests+=(--test "$name")
done
cargo test --workspace --locked --features colormamba/emulation,colormamba-losses/emulation "${tests[@]}" "$@" -- --skip evaluation_at --skip training_at
