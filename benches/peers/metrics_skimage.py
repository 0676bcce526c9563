"""scikit-image's side of a comparison: times its SSIM of a pair of RGB images on request. `compare.py` starts it; alone:

    echo forward | python metrics_skimage.py THREADS ssim 256        (seconds; needs requirements-metrics.txt)

Images are f64, as it computes in; the window is its default, uniform 7x7. It takes one thread, however many there are.
"""
import os
import resource
import sys
import time

os.environ["OMP_NUM_THREADS"] = sys.argv[1]

import numpy as np
from skimage.metrics import structural_similarity

# As `worker.py`'s.
TURN = 0.03


def median(run):
    start, times = time.perf_counter(), []
    while len(times) < 3 or time.perf_counter() - start < TURN:
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return sorted(times)[len(times) // 2]


def main():
    side = int(sys.argv[3])
    pred, target = np.random.default_rng(0).random((2, side, side, 3))
    for line in sys.stdin:
        if line.strip() == "peak":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
        else:
            print(median(lambda: structural_similarity(pred, target, channel_axis=-1, data_range=1)), flush=True)


main()
