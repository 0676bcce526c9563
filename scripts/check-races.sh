#!/usr/bin/env bash
# Runs tests on the CUDA kernels compiled as C++ with a thread of the operating system for each thread of a block, under the
# thread sanitizer, which finds races on shared memory. Slow: by default small tests of the kernels that share memory.
#
# Usage: scripts/check-races.sh [OPTION..], options of cargo test, with what follows -- for the test programs
set -euo pipefail
cd "$(dirname "$0")/.."
export EMULATE_BY_THREADS=1 TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS:-}"
if [ $# -gt 0 ]; then
    exec cargo test --workspace --locked --features colormamba/emulation,colormamba-losses/emulation "$@"
fi
race() {
    cargo test --workspace --locked --features colormamba/emulation,colormamba-losses/emulation --test "$1" -- --test-threads=1 "${@:2}"
}
race norm constant_planes batch_norm_matches layer_norm_matches
race activation softmax
race linear bias
race attention finite_differences
race scan golden
