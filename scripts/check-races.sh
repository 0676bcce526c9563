#!/usr/bin/env bash
# Looks for races on shared memory: records launches of emulated kernels while their tests run, and runs them again with
# threads of the operating system under the thread sanitizer. Kernels whose threads neither meet nor share memory are left out.
#
# Usage: scripts/check-races.sh
set -euo pipefail
cd "$(dirname "$0")/.."
launches=$PWD/target/launches
rm -rf "$launches"
mkdir -p "$launches"
COLORMAMBA_RECORD_LAUNCHES=$launches scripts/test-emulated.sh

sources=(crates/*/kernels/*.cu)
tables=""
for file in "${sources[@]}"; do
    tables+="TABLE($(basename "$file" .cu)) "
done
replay=$PWD/target/replay
"${CXX:-c++}" -std=c++20 -O1 -g -pthread -fsanitize=thread -DEMULATED -DEMULATE_BY_THREADS "-DTABLES=$tables" \
    -I crates/cuda/include -Wno-unknown-pragmas -x c++ "${sources[@]}" crates/cuda/replay.cpp -o "$replay"
# The sanitizer ends with 66 at the first race, after it has told where.
find "$launches" -type f -print0 | sort -z | TSAN_OPTIONS=halt_on_error=1 xargs -0 "$replay" >"$launches.log" || {
    tail -1 "$launches.log" >&2
    exit 1
}
echo "no race in $(wc -l <"$launches.log") launches of $(sed 's/\.[0-9a-f]*$//' "$launches.log" | sort -u | wc -l) kernels"
