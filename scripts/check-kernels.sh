#!/usr/bin/env bash
# Compiles every CUDA kernel for the GPUs that are supported, with the nvcc in the path, and fails if one needs more
# registers than its launch bounds leave it, which shows as spills to memory. Prints, for each file and GPU, how many
# kernels there are and the most registers and shared memory that one takes.
#
# Usage: scripts/check-kernels.sh [CAPABILITY..], by default 80 90 100
set -euo pipefail
cd "$(dirname "$0")/.."
capabilities=("$@")
[ $# -gt 0 ] || capabilities=(80 90 100)

check() {
    local file=$1 capability=$2 log
    log=$(nvcc -cubin -O3 -std=c++17 --expt-relaxed-constexpr -arch="sm_$capability" -Xptxas -v \
        -I crates/cuda/include -o /dev/null "$file" 2>&1) || { echo "$log" >&2; return 1; }
    awk -v file="$file" -v capability="$capability" '
        function number(before) { match($0, "[0-9]+ " before); return substr($0, RSTART, RLENGTH) + 0 }
        /Compiling entry function/ { name = $0; sub(/.*function ./, "", name); sub(/. for.*/, "", name); kernels++ }
        /spill stores/ && (number("bytes spill stores") || number("bytes spill loads")) {
            print file ": " name " spills for sm_" capability > "/dev/stderr"
            failed = 1
        }
        /Used [0-9]+ registers/ { r = $0; sub(/.*Used /, "", r); if (r + 0 > registers) registers = r + 0 }
        / bytes smem/ { s = number("bytes smem"); if (s > shared) shared = s }
        END {
            printf "%-44s sm_%-4s %3d kernels, at most %3d registers, %6d bytes shared\n", file, capability, kernels, registers, shared
            exit failed
        }' <<<"$log"
}

export -f check
for file in crates/*/kernels/*.cu; do
    for capability in "${capabilities[@]}"; do
        echo "$file" "$capability"
    done
done | xargs -P "$(nproc)" -L 1 bash -c 'check "$@"' check | sort
