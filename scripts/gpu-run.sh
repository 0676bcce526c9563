#!/usr/bin/env bash
# Runs on a machine with a card what scripts/gpu.sh has packed: all tests on the card, the memory and race checks of
# compute-sanitizer where it is installed, the benchmarks, and a training of the quickstart. Leaves report.md.
#
# Usage: gpu/run.sh [tests] [sanitizer] [bench] [train], by default all four
set -uo pipefail
cd "$(dirname "$0")"
parts=${*:-tests sanitizer bench train}
export COLORMAMBA_TEST_DEVICE=cuda COLORMAMBA_FIXTURES=$PWD/fixtures
# Wheels and the NVIDIA installer put the libraries into different places.
for place in /usr/local/cuda/lib64 /usr/local/lib/python3*/{dist,site}-packages/nvidia/{cu13,cublas,curand,cuda_nvrtc}/lib; do
    [ ! -d "$place" ] || export LD_LIBRARY_PATH="$place${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
failed=0
wants() { [[ " $parts " == *" $1 "* ]]; }
say() { echo "$*" | tee -a report.md; }

run_tests() {
    local log passed=0
    mkdir -p logs
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

run_sanitizer() {
    command -v compute-sanitizer >/dev/null || { say "- compute-sanitizer is not installed: skipped"; return; }
    for tool in memcheck racecheck; do
        for test in tests/ops-{norm,pool,resize,linear,conv,attention,criss_cross} tests/ssm-*; do
            log=logs/$tool-$(basename "$test").txt
            timeout 600 compute-sanitizer --tool $tool --error-exitcode 9 "$test" --test-threads=1 >"$log" 2>&1
            case $? in
                0) ;;
                124) say "- $tool $(basename "$test"): no end within 10 minutes" ;;
                *) failed=1; say "- $tool $(basename "$test"): $(grep -m1 -E '=====|FAILED' "$log")" ;;
            esac
        done
        say "- $tool has run"
    done
}

run_bench() {
    say ""
    python3 peers/compare.py --worker ./bench-worker --cases cases-cuda.txt --device cuda >bench.md 2>bench.log ||
        { failed=1; say "- benchmarks failed: $(tail -1 bench.log)"; }
    cat bench.md >>report.md
}

run_training() {
    /usr/bin/env time -v ./colormamba run --device cuda --out runs >train.log 2>&1 || { failed=1; say "- training failed"; }
    say "- quickstart on the card: $(grep -E 'Elapsed' train.log)"
}

{
    echo "# On a card, $(date -u +%F)"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    echo
} >report.md
! wants tests || run_tests
! wants sanitizer || run_sanitizer
! wants bench || run_bench
! wants train || run_training
exit $failed
