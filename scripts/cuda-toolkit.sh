#!/usr/bin/env bash
# Puts a CUDA 13.0 toolkit, enough to build with `--features cuda`, into a folder: from PyPI's wheels, without root, a GPU or
# NVIDIA's installer. 13.0 and not later, as drivers of the 580 series take no later PTX.
#
# Usage: scripts/cuda-toolkit.sh FOLDER [cudnn]; then `source FOLDER/env` and build with `--features cuda` (or `cudnn`).
set -euo pipefail
folder=${1:?usage: scripts/cuda-toolkit.sh FOLDER [cudnn]}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

packages="nvidia-cuda-nvcc==13.0.* nvidia-cuda-crt==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-runtime==13.0.*
    nvidia-cuda-cccl==13.0.* nvidia-cuda-nvrtc==13.0.* nvidia-cublas==13.0.* nvidia-curand==10.4.0.*"
[ "${2:-}" != cudnn ] || packages="$packages nvidia-cudnn-cu13==9.*"
python3 -m venv "$work/venv"
# The packages name no others that a build needs.
# shellcheck disable=SC2086
"$work/venv/bin/pip" install --quiet --no-deps --target "$work/site" $packages
cp -a "$work"/site/nvidia/cu13/. "$folder"/
[ ! -d "$work/site/nvidia/cudnn" ] || cp -a "$work"/site/nvidia/cudnn/. "$folder"/

cd "$folder"
[ -e lib64 ] || ln -s lib lib64
# The linker looks for names without a version, which wheels do not have.
for library in lib/lib{cublas,cublasLt,curand,nvrtc,cudnn}.so.*; do
    case $library in
        *builtins* | *alt* | *'*'*) ;;
        *) ln -sf "$(basename "$library")" "${library%.so.*}.so" ;;
    esac
done
rm -f lib/libcudart.so*
echo "INPUT($folder/lib/libcudart_static.a -ldl -lrt -lpthread)" >lib/libcudart.so
# The driver's library comes with a GPU. For the linker, one of the same names does.
mkdir -p lib/stubs
grep -hoE '\bcu[A-Z][A-Za-z0-9_]+' include/cuda.h | sort -u | sed 's/.*/void &(void){}/' >"$work/stub.c"
cc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o lib/stubs/libcuda.so "$work/stub.c"

cat >env <<END
export CUDA_HOME="$folder"
export PATH="$folder/bin:\$PATH"
export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-90}"
export RUSTFLAGS="-L $folder/lib/stubs -L $folder/lib"
END
"$folder"/bin/nvcc --version | tail -1
