#!/usr/bin/env bash
# Runs on a machine with a card what scripts/gpu.sh has packed: all tests on the card, the memory and race checks of
# compute-sanitizer where it is installed, the benchmarks, and a training of the quickstart. Leaves report.md.
#
# Usage: gpu/run.sh [tests] [memcheck] [racecheck] [bench] [train], by default all five
set -uo pipefail
cd "$(dirname "$0")"
parts=${*:-tests memcheck racecheck bench train}
export COLORMAMBA_TEST_DEVICE=cuda COLORMAMBA_FIXTURES=$PWD/fixtures
# Wheels and the NVIDIA installer put the libraries into different places.
wheels=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/nvidia
for place in /usr/local/cuda/lib64 "$wheels"/{cu13,cublas,curand,cuda_nvrtc,cudnn}/lib; do
    [ ! -d "$place" ] || export LD_LIBRARY_PATH="$place${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
failed=0
wants() { [[ " $parts " == *" $1 "* ]]; }
say() { echo "$*" | tee -a report.md; }

mkdir -p logs

run_tests() {
    local log passed=0
    for test in tests/*; do
        log=logs/$(basename "$test").txt
        if "$test" --test-threads=1 --nocapture >"$log" 2>&1; then
            passed=$((passed + $(grep -oE '[0-9]+ passed' "$log" | grep -oE '[0-9]+')))
        else
            failed=1
            say "- FAILED: $(basename "$test"): $(grep -E '^test .*FAILED|panicked|error' "$log" | head -3 | tr '\n' ' ')"
        fi
    done
    say "- $passed tests passed"
    say "- without a kernel: $(cat logs/* | sed -n 's/^warning: \(.*\) has no CUDA kernel.*/\1/p' | sort -u | tr '\n' ' ')"
}

sanitize() {
    local tool=$1 test log
    command -v compute-sanitizer >/dev/null || { say "- compute-sanitizer is not installed: skipped"; return; }
    for test in tests/ops-{norm,pool,resize,linear,conv,attention,criss_cross} tests/ssm-*; do
        log=logs/$tool-$(basename "$test").txt
        timeout 600 compute-sanitizer --tool "$tool" --error-exitcode 9 "$test" --test-threads=1 >"$log" 2>&1
        case $? in
            0) ;;
            124) say "- $tool $(basename "$test"): no end within 10 minutes" ;;
            *) failed=1; say "- $tool $(basename "$test"): $(grep -m1 -E '=====|FAILED' "$log")" ;;
        esac
    done
    say "- $tool has run"
}

run_bench() {
    say ""
    local worker
    for worker in bench-worker*; do
        python3 peers/compare.py --worker "./$worker" --cases cases-cuda.txt --device cuda >bench.md 2>bench.log ||
            { failed=1; say "- benchmarks failed: $(tail -1 bench.log)"; }
        say "$worker"
        cat bench.md >>report.md
    done
}

run_training() {
    local start=$SECONDS
    ./colormamba run --device cuda --out runs >train.log 2>&1 || { failed=1; say "- training failed: $(tail -1 train.log)"; }
    say "- quickstart on the card: $((SECONDS - start)) s"
}

{
    echo "# On a card, $(date -u +%F)"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    echo
} >report.md
! wants tests || run_tests
! wants memcheck || sanitize memcheck
! wants racecheck || sanitize racecheck
! wants bench || run_bench
! wants train || run_training
exit $failed
