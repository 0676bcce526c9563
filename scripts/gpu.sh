#!/usr/bin/env bash
# Builds the tests and benchmarks for a card and packs them, with their fixtures, into one file that runs on a machine with a
# card, driver 580 or later and the CUDA 13.0 libraries: no Rust, no network, no source.
#
# Usage: scripts/gpu.sh [PACK], by default target/gpu.tar.xz; after `source FOLDER/env` (see scripts/cuda-toolkit.sh).
# There: tar -xJf gpu.tar.xz && gpu/run.sh, which leaves gpu/report.md and exits with 1 if a test failed.
set -euo pipefail
cd "$(dirname "$0")/.."
pack=${1:-target/gpu.tar.xz}
: "${CUDA_HOME:?first: scripts/cuda-toolkit.sh FOLDER, then source FOLDER/env}"
export CARGO_TARGET_DIR=target/cuda CARGO_PROFILE_DEV_DEBUG=0
packages=(ops ssm layers hsv-net rgb-net losses)
selected=(-p colormamba -p colormamba-testkit "${packages[@]/#/-p colormamba-}")
# Every argument by itself.
read -ra selected <<<"${selected[*]}"

folder=$CARGO_TARGET_DIR/pack/gpu
rm -rf "$folder"
mkdir -p "$folder/tests"
cargo test --locked "${selected[@]}" --features colormamba-testkit/cuda,colormamba/cuda,colormamba-losses/cuda --no-run --message-format=json |
    python3 -c '
import json, shutil, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        crate, name = message["package_id"].split("#")[0].rsplit("/", 1)[-1], message["target"]["name"]
        # It compares a file of the source tree.
        if name != "conformance":
            shutil.copy(message["executable"], f"{sys.argv[1]}/{crate}-{name}")' "$folder/tests"
cargo build --locked --release -p colormamba-runner -p colormamba-bench --features colormamba-runner/cuda
cp "$CARGO_TARGET_DIR"/release/{colormamba,bench-worker} "$folder/"
if [ -e "$CUDA_HOME/lib/libcudnn.so" ]; then
    cargo build --locked --release -p colormamba-bench --features colormamba-runner/cudnn
    cp "$CARGO_TARGET_DIR/release/bench-worker" "$folder/bench-worker-cudnn"
fi
strip "$folder"/tests/* "$folder"/colormamba "$folder"/bench-worker*
cp -r tests/fixtures benches/peers benches/cases-cuda.txt "$folder/"
cp scripts/gpu-run.sh "$folder/run.sh"
tar -C "$folder/.." -cf - gpu | xz -T0 -6 --lzma2=dict=256MiB >"$pack"
ls -l "$pack"
