"""Runs our operations and models and PyTorch's alternately, A B A B, and prints the table of ratios in Markdown.

    cargo build --release -p colormamba-bench
    python benches/peers/compare.py [--rounds N] [--threads N | --device cuda] [--only TEXT]   (needs requirements.txt)

A case is set up in one process of each side, both are warmed up by three passes, then asked in turn. Medians over the rounds.
"""
import argparse
import datetime
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Side:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.process.args} ended without an answer to '{request}'")
        return float(answer)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(worker, case, requests, rounds, place):
    """Medians of both sides and of the ratio of neighbours, by request; peaks of both sides."""
    sides = [Side([str(worker), place] + case), Side([sys.executable, str(HERE / "worker.py"), place] + case)]
    medians = {}
    for request in requests:
        # The first passes fetch their memory from the system.
        for _ in range(3):
            for side in sides:
                side.ask(request)
        times = [[side.ask(request) for side in sides] for _ in range(rounds)]
        medians[request] = [statistics.median(t) for t in zip(*times)]
    peaks = [side.ask("peak") for side in sides]
    for side in sides:
        side.end()
    return medians, peaks


def seconds(t):
    return f"{t:.2f} s" if t >= 1 else f"{t * 1e3:.1f} ms" if t >= 1e-3 else f"{t * 1e6:.0f} µs"


def cell(pair, limit, show):
    if pair is None:
        return "–"
    ratio = pair[0] / pair[1]
    mark = "" if limit == "-" else f" (≤ {limit})" if ratio <= float(limit) else f" (**> {limit}**)"
    return f"{show(pair[0])} / {show(pair[1])} = {ratio:.2f}{mark}"


def machine():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--device", help="cuda or cuda:N, instead of the processor")
    arguments.add_argument("--cases", type=pathlib.Path, default=HERE.parent / "cases.txt")
    release = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    arguments.add_argument("--worker", type=pathlib.Path, default=release / "bench-worker", help="our side")
    arguments.add_argument("--only", default="", help="cases that contain this text")
    options = arguments.parse_args()
    import torch

    place = options.device or str(options.threads)
    where = torch.cuda.get_device_name(place) if options.device else f"{machine()}, {options.threads} threads"
    print(f"{datetime.date.today()}, {where}, torch {torch.__version__}, f32,")
    print(f"medians of {options.rounds} alternating rounds. Cells: ours / PyTorch's = ratio (what it is to stay below).\n")
    print("| case | forward | backward | peak memory |\n|---|---|---|---|")
    for line in options.cases.read_text().splitlines():
        words = line.split("#")[0].split()
        if not words or options.only not in line:
            continue
        is_model = words[0] in ("generator", "iteration", "loss")
        case, limits = (words[:-3], words[-3:]) if is_model else (words[:-2], words[-2:] + ["-"])
        requests = ["backward"] if words[0] in ("iteration", "loss") else ["forward", "backward"]
        medians, peaks = compare(options.worker, case, requests, options.rounds, place)
        cells = [cell(medians.get(r), limit, seconds) for r, limit in zip(("forward", "backward"), limits)]
        cells.append(cell(peaks if is_model else None, limits[2], lambda b: f"{b / 2**30:.2f} GiB"))
        print(f"| {' '.join(case)} | " + " | ".join(cells) + " |", flush=True)


main()
