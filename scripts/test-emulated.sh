#!/usr/bin/env bash
# Runs the tests of all operations that have CUDA kernels on these kernels, compiled as C++ for the processor.
#
# Usage: scripts/test-emulated.sh [OPTION..], options of cargo test
set -euo pipefail
cd "$(dirname "$0")/.."
tests=()
# `golden` is that of hsv-net.
for name in ops ssm layers golden rgb_net colormamba features losses; do
    tests+=(--test "$name")
done
# The graph and checkpoints have no kernels; whole networks are too slow this way.
cargo test --workspace --locked --features colormamba/emulation,colormamba-losses/emulation "${tests[@]}" "$@" -- \
    --skip graph:: --skip checkpoint:: --skip discriminator:: --skip evaluation_at --skip training_at
