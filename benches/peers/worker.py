"""The PyTorch side of a comparison: times one case on request. `compare.py` starts it.

    python worker.py THREADS|DEVICE CASE...        one request a line on standard input: forward, backward or peak

COLORMAMBA_BENCH_PRECISION is f32, tf32 (products of f32 may round their factors) or bf16: networks and operations run under
autocast then, operations on activations in bf16, scans of rows aside; weights, losses and what they look through, and optimizers
stay f32, their products may round to TF32.
COLORMAMBA_BENCH_COMPILE=1 compiles networks, in their first passes.
"""
import math
import os
import resource
import sys
import time

PLACE = sys.argv[1]
if PLACE.isdigit():
    os.environ["OMP_NUM_THREADS"] = PLACE

import torch
import torch.nn.functional as F
from torch import nn

import colormamba_torch as cm
import losses_torch

if PLACE.isdigit():
    torch.set_num_threads(int(PLACE))
    DEVICE = torch.device("cpu")
else:
    DEVICE = torch.device(PLACE)
    torch.set_default_device(DEVICE)
torch.manual_seed(0)

PRECISION = os.environ.get("COLORMAMBA_BENCH_PRECISION", "f32")
COMPILE = os.environ.get("COLORMAMBA_BENCH_COMPILE") == "1"
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = PRECISION != "f32"
ACTIVATIONS = torch.bfloat16 if PRECISION == "bf16" else torch.float32


def in_precision(function):
    return torch.autocast(DEVICE.type, torch.bfloat16)(function) if PRECISION == "bf16" else function


def leaf(*shape):
    return torch.randn(*shape).requires_grad_()


def activations(*shape):
    return torch.randn(*shape, dtype=ACTIVATIONS).requires_grad_()


def conv(i, o, k, s, p, side, batch):
    x, w, b = activations(batch, i, side, side), leaf(o, i, k, k), leaf(o)
    return lambda: F.conv2d(x, w, b, s, p)


def convt(i, o, k, s, p, side, batch):
    x, w, b = activations(batch, i, side, side), leaf(i, o, k, k), leaf(o)
    return lambda: F.conv_transpose2d(x, w, b, s, p)


def depthwise(c, side):
    x, w, b = activations(1, c, side, side), leaf(c, 1, 3, 3), leaf(c)
    return lambda: F.conv2d(x, w, b, padding=1, groups=c)


def depthwise_image(c, k, s, side, batch):
    x, w, b = activations(batch, c, side, side), leaf(c, 1, k, k), leaf(c)
    pad = max((-(-side // s) - 1) * s + k - side, 0)
    if pad % 2 == 0:
        return lambda: F.relu6(F.conv2d(x, w, b, s, pad // 2, groups=c))
    sides = (pad // 2, pad - pad // 2) * 2
    return lambda: F.relu6(F.conv2d(F.pad(x, sides), w, b, s, groups=c))


def instance_norm_lrelu(b, c, side):
    x = activations(b, c, side, side)
    return lambda: F.leaky_relu(F.instance_norm(x), 0.2)


def layer_norm(rows, n):
    x, w, b = activations(rows, n), leaf(n), leaf(n)
    return lambda: F.layer_norm(x, (n,), w, b)


def unary(function):
    def case(rows, n):
        x = activations(rows, n)
        return lambda: function(x)

    return case


def scan(groups, channels, side):
    rows, steps = groups * channels, side * side
    u, delta, B, C = leaf(1, rows, steps), leaf(1, rows, steps), leaf(1, groups, 16, steps), leaf(1, groups, 16, steps)
    A = (-torch.arange(1.0, 17).repeat(rows, 1)).requires_grad_()
    D, bias = leaf(rows), torch.full((rows,), -4.0).requires_grad_()
    if DEVICE.type != "cuda":
        return lambda: cm.selective_scan(u, delta, A, B, C, D, bias)
    import scan_triton

    return lambda: scan_triton.selective_scan(u, delta, A, B, C, D, bias)


def scan_map(batch, channels, side):
    """As between the projections of the network's scans, half of whose channels these are. On a GPU alone."""
    import scan_triton

    rank, states = math.ceil(channels / 32), cm.STATES
    x, projected = activations(batch, side, side, channels), activations(batch, side, side, 4 * (rank + 2 * states))
    weight, bias = leaf(4, channels, rank), torch.full((4, channels), -4.0).requires_grad_()
    a_logs, ds = torch.arange(1.0, states + 1).log().repeat(4 * channels, 1).requires_grad_(), leaf(4 * channels)
    return lambda: scan_triton.four_direction_scan(x, projected, weight, bias, a_logs, ds)


def criss_cross(k, c, side):
    q, key, v = activations(1, k, side, side), activations(1, k, side, side), activations(1, c, side, side)

    def attend():
        column = torch.einsum("bchw,bcgw->bhwg", q, key)
        column = column.masked_fill(torch.eye(side, dtype=torch.bool)[:, None], -torch.inf)
        row = torch.einsum("bchw,bchg->bhwg", q, key)
        column, row = torch.softmax(torch.cat([column, row], dim=-1), dim=-1).split([side, side], dim=-1)
        return torch.einsum("bhwg,bcgw->bchw", column, v) + torch.einsum("bhwg,bchg->bchw", row, v)

    return attend


OPS = {
    **{
        f.__name__: f
        for f in (
            conv, convt, depthwise, depthwise_image, instance_norm_lrelu, layer_norm, scan, scan_map, criss_cross,
        )
    },
    "gelu": unary(F.gelu),
    "silu": unary(F.silu),
    "softmax": unary(lambda x: torch.softmax(x, dim=-1)),
}


def synchronize():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def seconds(work):
    synchronize()
    start = time.perf_counter()
    result = work()
    synchronize()
    return time.perf_counter() - start, result


# How long an operation's turn lasts at least: longer than the other side's idle threads spin and than threads take to wake.
TURN = 0.03


def median(run):
    start, times = time.perf_counter(), []
    while len(times) < 3 or time.perf_counter() - start < TURN:
        times.append(run())
    return sorted(times)[len(times) // 2]


class Operation:
    """The forward pass keeps its graph; the backward pass is timed alone. The median of those that fit in a turn."""

    def __init__(self, name, sizes):
        self.run = in_precision(OPS[name](*sizes))
        self.ones = torch.ones_like(self.run().detach())

    def forward(self):
        return median(lambda: seconds(self.run)[0])

    def backward(self):
        def once():
            out = self.run()
            leaves = self.leaves(out)
            return seconds(lambda: torch.autograd.grad(out, leaves, self.ones))[0]

        return median(once)

    @staticmethod
    def leaves(out):
        found, todo = [], [out.grad_fn]
        seen = set()
        while todo:
            node = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if hasattr(node, "variable"):
                found.append(node.variable)
            todo += [following for following, _ in node.next_functions]
        return found


def compiled(network):
    return torch.compile(network) if COMPILE else network


class Network(nn.Module):
    """A network in the precision that is asked for, compiled if asked; its results are f32."""

    def __init__(self, network):
        super().__init__()
        self.network = compiled(network)
        self.forward = in_precision(self.forward)

    def forward(self, x):
        out = self.network(x)
        return tuple(y.float() for y in out) if isinstance(out, tuple) else out.float()


class Generator:
    """The forward pass is an evaluation, the backward one a training forward and backward."""

    def __init__(self, width, batch, side=256):
        self.generator, self.gray = Network(cm.Generator(width)), torch.rand(batch, 1, side, side)

    def forward(self):
        def work():
            with torch.no_grad():
                self.generator.eval()(self.gray)

        return seconds(work)[0]

    def backward(self):
        def work():
            rgb, hsv = self.generator.train()(self.gray)
            (rgb.square().mean() + hsv.square().mean()).backward()
            self.generator.zero_grad()

        return seconds(work)[0]


class Iteration:
    def __init__(self, width, batch):
        networks = map(Network, (cm.Generator(width), cm.Discriminator(), cm.Discriminator()))
        self.trainer = cm.Trainer(*networks, compiled(cm.AutoencoderFeatures()))
        self.images = [torch.rand(batch, c, 256, 256) for c in (1, 3, 3)]

    def backward(self):
        return seconds(lambda: self.trainer.step(*self.images))[0]


class Loss:
    """A value and its gradient by the prediction, what is needed of the target included."""

    def __init__(self, name, batch, side):
        self.loss = losses_torch.LOSSES[name]()
        self.pred, self.target = torch.rand(batch, 3, side, side, requires_grad=True), torch.rand(batch, 3, side, side)

    def backward(self):
        return median(lambda: seconds(lambda: torch.autograd.grad(self.loss(self.pred, self.target), self.pred))[0])


def peak():
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated()
    # In kB on Linux. Includes what importing torch takes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    name, sizes = sys.argv[2], sys.argv[3:]
    if name == "loss":
        subject = Loss(sizes[0], *map(int, sizes[1:]))
    else:
        models = {"generator": Generator, "iteration": Iteration}
        sizes = [int(x) for x in sizes]
        subject = models[name](*sizes) if name in models else Operation(name, sizes)
    for line in sys.stdin:
        request = line.strip()
        if request == "peak":
            print(peak(), flush=True)
        else:
            print(getattr(subject, request)(), flush=True)


main()
