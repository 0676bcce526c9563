#!/usr/bin/env bash
# Runs on a machine with a GPU what scripts/gpu.sh has packed, and adds to report.md what it finds:
#   tests      every test on the GPU
#   memcheck   the memory and race checks of compute-sanitizer, where that is installed
#   racecheck
#   bench      times beside PyTorch's, in f32, TF32 and bf16; needs peers/requirements.txt
#   compiled   the networks' beside those of torch.compile
#   curves     trainings of the quickstart from three seeds, in f32 and in bf16, a table of each
#
# Usage: gpu/run.sh [PART..], by default all; exits with 1 if one of them failed
set -uo pipefail
cd "$(dirname "$0")"
parts=${*:-tests memcheck racecheck bench compiled curves}
export COLORMAMBA_TEST_DEVICE=cuda COLORMAMBA_FIXTURES=$PWD/fixtures
# Wheels and the NVIDIA installer put the libraries into different places.
wheels=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/nvidia
for place in /usr/local/cuda/lib64 "$wheels"/{cu13,cublas,curand,cuda_nvrtc,cudnn}/lib; do
    [ ! -d "$place" ] || export LD_LIBRARY_PATH="$place${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
failed=0
say() { echo "$*" | tee -a report.md; }
fail() { failed=1; say "$@"; }

mkdir -p logs

# Those that read the source tree, and those of losses without kernels, are left out.
tests() {
    local test name log left_out
    left_out=(--skip files:: --skip edges:: --skip errors:: --skip speckle:: --skip video::)
    for test in tests/*; do
        name=$(basename "$test")
        log=logs/$name.txt
        if timeout 1200 "$test" --test-threads=1 --nocapture "${left_out[@]}" >"$log" 2>&1; then
            say "- $name: $(grep -oE '[0-9]+ passed' "$log")"
        else
            fail "- $name FAILED ($?): $(grep -E '^test .*FAILED|panicked|rror' "$log" | head -3 | tr '\n' ' ')"
        fi
    done
    say "- without a kernel: $(cat logs/* | sed -n 's/^warning: \(.*\) has no CUDA kernel.*/\1/p' | sort -u | tr '\n' ' ')"
}

sanitize() {
    local tool=$1 test part name log
    command -v compute-sanitizer >/dev/null || { say "- compute-sanitizer is not installed: skipped"; return; }
    for name in ops-ops/{norm,pool,resize,linear,conv,attention,criss_cross} layers-layers/adam \
        rgb-net-rgb_net/edge_map ssm-ssm/{blocks,scan}; do
        test=tests/${name%/*} part=${name#*/}
        log=logs/$tool-$part.txt
        timeout 600 compute-sanitizer --tool "$tool" --error-exitcode 9 "$test" --test-threads=1 "$part::" >"$log" 2>&1
        case $? in
            0) say "- $name: clean" ;;
            124) say "- $name: no end within 10 minutes" ;;
            *)
                if grep -qE '^=+ .*not supported' "$log"; then
                    say "- compute-sanitizer does not work here: skipped"
                    return
                fi
                fail "- $name: $(grep -E 'ERROR SUMMARY|Invalid|Race|FAILED' "$log" | head -2 | tr '\n' ' ')"
                ;;
        esac
    done
}
memcheck() { sanitize memcheck; }
racecheck() { sanitize racecheck; }

# A table for each of our workers: with cuBLAS, and with cuDNN if it was packed.
compare() {
    local worker
    for worker in bench-worker*; do
        say ""
        say "$worker $*"
        say ""
        python3 peers/compare.py --worker "$worker" --cases cases-cuda.txt --device cuda "$@" 2>logs/bench.txt |
            tee -a report.md || fail "- failed: $(tail -2 logs/bench.txt | tr '\n' ' ')"
    done
}

bench() {
    python3 peers/scan_triton.py --check >logs/triton.txt 2>&1 || fail "- Triton's scan is wrong here: $(tail -1 logs/triton.txt)"
    local precision
    for precision in f32 tf32 bf16; do
        compare --precision "$precision"
    done
    say "- 50 epochs of 372 pairs in batches of 8 are 2300 iterations: 38 minutes for each second of one"
}

compiled() {
    local precision network
    for precision in tf32 bf16; do
        for network in "generator 64 8" "iteration 64 8"; do
            compare --precision "$precision" --compile --only "$network"
        done
    done
}

curves() {
    local precision start
    for precision in f32 bf16; do
        start=$SECONDS
        ./colormamba run quickstart --device cuda --out "runs-$precision" --set 'seeds=[1,2,3]' --variant colormamba \
            --set "train.precision=\"$precision\"" >"logs/train-$precision.txt" 2>&1 ||
            fail "- training in $precision failed: $(tail -1 "logs/train-$precision.txt")"
        say "- quickstart in $precision, three seeds: $((SECONDS - start)) s"
        ./colormamba table "runs-$precision/quickstart" | tee -a report.md || fail "- no table"
    done
}

for part in $parts; do
    case $part in
        tests | memcheck | racecheck | bench | compiled | curves) ;;
        *) echo "no such part: $part" >&2; exit 2 ;;
    esac
done
{
    echo "# On a GPU, $(date -u '+%F %R')"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
} >>report.md
for part in $parts; do
    say ""
    say "## $part"
    say ""
    "$part"
done
exit $failed
