"""Runs our operations, models and measures and those of PyTorch or scikit-image alternately, A B A B, and prints the table
of ratios in Markdown.

    cargo build --release -p colormamba-bench
    python benches/peers/compare.py [--rounds N] [--threads N | --device cuda] [--only TEXT]   (needs requirements.txt)
    python benches/peers/compare.py --device cuda --cases benches/cases-cuda.txt [--precision tf32|bf16] [--compile]

A case is set up in one process of each side, both are warmed up by three passes, then asked in turn. Medians over the rounds.
"""
import argparse
import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

PASSES = "forward", "backward"
# Who is on the other side of a case, if not PyTorch.
PEERS = {"ssim": "metrics_skimage.py", "measures": None, "compare": None}


class NoAnswer(Exception):
    """A side that ended before its time, after it has said why."""


class Side:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
            return float(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):
            raise NoAnswer(f"{' '.join(self.process.args)} ended without an answer to '{request}'") from None

    def end(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def compare(worker, case, requests, rounds, place):
    """Medians by request, and peaks, of us and of the other side if there is one."""
    sides = [Side([str(worker), place] + case)]
    peer = PEERS.get(case[0], "worker.py")
    if peer:
        sides.append(Side([sys.executable, str(HERE / peer), place] + case))
    try:
        return measure(sides, requests, rounds)
    finally:
        for side in sides:
            side.end()


def measure(sides, requests, rounds):
    medians = {}
    for request in requests:
        # The first passes fetch their memory from the system.
        for _ in range(3):
            for side in sides:
                side.ask(request)
        times = [[side.ask(request) for side in sides] for _ in range(rounds)]
        medians[request] = [statistics.median(t) for t in zip(*times)]
    return medians, [side.ask("peak") for side in sides]


def seconds(t):
    return f"{t:.2f} s" if t >= 1 else f"{t * 1e3:.1f} ms" if t >= 1e-3 else f"{t * 1e6:.0f} µs"


def cell(pair, limit, show):
    if pair is None:
        return "–"
    if len(pair) == 1:
        return show(pair[0])
    ratio = pair[0] / pair[1]
    mark = "" if limit == "-" else f" (≤ {limit})" if ratio <= float(limit) else f" (**> {limit}**)"
    return f"{show(pair[0])} / {show(pair[1])} = {ratio:.2f}{mark}"


def rate(time, pairs, least):
    """Of measuring folders."""
    rate = pairs / time
    mark = f" (≥ {least})" if rate >= float(least) else f" (**< {least}**)"
    return f"{seconds(time)}, {rate:.1f} pairs/s{mark}"


def version(package):
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {package}"


def machine():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def gpu():
    return subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--device", help="cuda or cuda:N, instead of the processor")
    arguments.add_argument("--cases", type=pathlib.Path, default=HERE.parent / "cases.txt")
    release = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    arguments.add_argument("--worker", type=pathlib.Path, default=release / "bench-worker", help="our side")
    arguments.add_argument("--only", default="", help="cases that contain this text")
    arguments.add_argument("--precision", choices=("f32", "tf32", "bf16"), default="f32", help="of both sides, on a GPU")
    arguments.add_argument("--compile", action="store_true", help="PyTorch's networks; in the passes that warm up")
    options = arguments.parse_args()
    if not options.device and (options.precision != "f32" or options.compile):
        arguments.error("--precision and --compile are for a GPU")
    os.environ["COLORMAMBA_BENCH_PRECISION"] = options.precision
    os.environ["COLORMAMBA_BENCH_COMPILE"] = str(int(options.compile))
    place = options.device or str(options.threads)
    where = f"{gpu()}, {place}" if options.device else f"{machine()}, {options.threads} threads"
    how = options.precision + ", compiled" * options.compile
    versions = [f"{version('torch')} ({how})"] + ([] if options.device else [version("scikit-image") + " (f64)"])
    print(f"{datetime.date.today()}, {where}, {', '.join(versions)},")
    print(f"medians of {options.rounds} alternating rounds. Cells: ours / theirs = ratio (what it is to stay below).\n")
    print("| case | forward | backward | peak memory |\n|---|---|---|---|")
    failures = []
    for line in options.cases.read_text().splitlines():
        words = line.split("#")[0].split()
        if not words or options.only not in line:
            continue
        is_model = words[0] in ("generator", "iteration", "loss")
        case, limits = (words[:-3], words[-3:]) if is_model else (words[:-2], words[-2:] + ["-"])
        requests = PASSES[1:] if words[0] in ("iteration", "loss") else PASSES[:1] if words[0] in PEERS else PASSES
        requests = [request for request in requests if limits[PASSES.index(request)] != "skip"]
        try:
            medians, peaks = compare(options.worker.resolve(), case, requests, options.rounds, place)
        except NoAnswer as failure:
            print(f"| {' '.join(case)} | failed | | |", flush=True)
            failures.append(str(failure))
            continue
        cells = [cell(medians.get(r), limit, seconds) for r, limit in zip(PASSES, limits)]
        if words[0] == "compare":
            cells[0] = rate(medians["forward"][0], int(case[2]), limits[0])
        cells.append(cell(peaks if is_model else None, limits[2], lambda b: f"{b / 2**30:.2f} GiB"))
        print(f"| {' '.join(case)} | " + " | ".join(cells) + " |", flush=True)
    if failures:
        sys.exit("\n".join(failures))


main()
