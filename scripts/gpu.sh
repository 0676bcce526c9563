#!/usr/bin/env bash
# Builds the tests and benchmarks for a GPU and packs them, with their fixtures, into one file that runs on a machine with a
# GPU of the capability in CUDA_COMPUTE_CAP, driver 580 or later and the CUDA 13.0 libraries: no Rust, no network, no source.
#
# Usage: scripts/gpu.sh [PACK], by default target/gpu.tar.xz; after `source FOLDER/env` (see scripts/cuda-toolkit.sh).
# There: tar -xJf gpu.tar.xz && gpu/run.sh [PART..], which adds to gpu/report.md and exits with 1 if something failed; the parts
# are explained in scripts/gpu-run.sh. With cuDNN in the toolkit, its convolutions are tested and timed too.
set -euo pipefail
cd "$(dirname "$0")/.."
pack=${1:-target/gpu.tar.xz}
: "${CUDA_HOME:?first: scripts/cuda-toolkit.sh FOLDER, then source FOLDER/env}"
export CARGO_TARGET_DIR=target/cuda CARGO_PROFILE_DEV_DEBUG=0

folder=$CARGO_TARGET_DIR/pack/gpu
rm -rf "$folder"
mkdir -p "$folder/tests"
# Builds tests, by options of cargo test, and copies them under names that begin so; but not those that read the source
# tree.
tests() {
    local prefix=$1
    shift
    cargo test --locked "$@" --no-run --message-format=json | python3 -c '
import json, shutil, sys
prefix, folder = sys.argv[1:]
LEFT_OUT = {"tests": ["colormamba_testkit", "conformance", "fuzz"], "features": ["colormamba_features"]}
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        crate, name = message["package_id"].split("#")[0].rsplit("/", 1)[-1], message["target"]["name"]
        if name not in LEFT_OUT.get(crate, []):
            shutil.copy(message["executable"], f"{folder}/{prefix}{crate}-{name}")' "$prefix" "$folder/tests"
}

tests "" -p colormamba -pcolormamba-{ops,layers,ssm,hsv-net,rgb-net,features,losses,testkit} \
    --features colormamba-testkit/cuda,colormamba/cuda,colormamba-losses/cuda
cargo build --locked --release -p colormamba-runner -p colormamba-bench --features colormamba-runner/cuda
cp "$CARGO_TARGET_DIR"/release/{colormamba,bench-worker} "$folder/"
if [ -e "$CUDA_HOME/lib/libcudnn.so" ]; then
    tests cudnn- -p colormamba -p colormamba-ops --features colormamba/cuda,colormamba-ops/cudnn \
        --test ops --test colormamba
    cargo build --locked --release -p colormamba-bench --features colormamba-runner/cudnn
    cp "$CARGO_TARGET_DIR/release/bench-worker" "$folder/bench-worker-cudnn"
fi
strip "$folder"/tests/* "$folder"/colormamba "$folder"/bench-worker*
cp -r tests/fixtures benches/peers benches/cases-cuda.txt "$folder/"
cp scripts/gpu-run.sh "$folder/run.sh"
# Programs that are alike come one after the other.
tar -C "$folder/.." --sort=name -cf - gpu | xz -T0 -6 --lzma2=dict=256MiB >"$pack"
ls -l "$pack"
