"""The small network of local offsets and gains in PyTorch, with the tensor names of `crates/lite`: the other side of its
golden file and of its speed.

    python lite_torch.py golden FILE        writes tests/fixtures/lite.safetensors anew
    python lite_torch.py time THREADS       seconds of a training step, batch 8 at 224 x 224, forward and backward

EfficientNet-Lite0 as in Tan & Le, arXiv 1905.11946, table 1, without squeeze-and-excitation and with ReLU6, padded as
TensorFlow pads; its batch norms keep their statistics in training.
"""
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

# Expansion, channels, repeats, stride, kernel.
STAGES = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]
CHANNELS = [16, 24, 40, 112, 320]


class FrozenNorm(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels, eps=1e-3)

    def train(self, mode=True):
        return super().train(False)


class SameConv(nn.Conv2d):
    """Without bias, output ceil(n / stride); the odd pixel of padding goes right and below."""

    def forward(self, x):
        (k, _), (s, _) = self.kernel_size, self.stride
        pads = []
        for n in reversed(x.shape[2:]):
            pad = max((-(-n // s) - 1) * s + k - n, 0)
            pads += [pad // 2, pad - pad // 2]
        return super().forward(F.pad(x, pads))


class Block(nn.Module):
    def __init__(self, inputs, outputs, expansion, kernel, stride):
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(inputs, wide, 1, bias=False), FrozenNorm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = FrozenNorm(wide)
        self._project_conv, self._bn2 = nn.Conv2d(wide, outputs, 1, bias=False), FrozenNorm(outputs)
        self.wider, self.halves, self.skip = expansion > 1, stride == 2, stride == 1 and inputs == outputs

    def forward(self, x):
        wide = F.relu6(self._bn0(self._expand_conv(x))) if self.wider else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(wide)))))
        return x + y if self.skip else y


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), FrozenNorm(32)
        self._blocks, inputs = nn.ModuleList(), 32
        for expansion, outputs, repeats, stride, kernel in STAGES:
            for repeat in range(repeats):
                self._blocks.append(Block(inputs, outputs, expansion, kernel, 1 if repeat else stride))
                inputs = outputs

    def forward(self, gray):
        x = F.relu6(self._bn0(self._conv_stem((255 * gray.repeat(1, 3, 1, 1) - 127) / 128)))
        maps = []
        for block in self._blocks:
            if block.halves:
                maps.append(x)
            x = block(x)
        return maps + [x]


class Layer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.silu(self.norm(self.conv(x)))


def pair(inputs, outputs):
    return nn.Sequential(Layer(inputs, outputs), Layer(outputs, outputs))


class Lite(nn.Module):
    def __init__(self, width):
        super().__init__()
        widths = [width, width, 2 * width, 4 * width, 6 * width]
        self.encoder, self.bottleneck = Encoder(), nn.Conv2d(CHANNELS[4], widths[4], 1)
        self.up = nn.ModuleList(pair(widths[n + 1] + CHANNELS[n], widths[n]) for n in range(4))
        self.fine, self.out = pair(width + 1, 16), nn.Conv2d(16, 6, 1)

    def forward(self, nir):
        *maps, x = self.encoder(nir)
        x = self.bottleneck(x)
        at = lambda x, size: F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        for n in (3, 2, 1, 0):
            x = self.up[n](torch.cat([at(x, maps[n].shape[2:]), maps[n]], 1))
        offset, gain = self.out(self.fine(torch.cat([at(x, nir.shape[2:]), nir], 1))).chunk(2, 1)
        return torch.sigmoid(offset + gain * torch.logit(nir.clamp(0.01, 0.99)))


def noise(name, n):
    """What `tests/src/formula.rs` calls noise."""
    mask, start = (1 << 64) - 1, 0xCBF29CE484222325
    for byte in name.encode():
        start = (start ^ byte) * 0x100000001B3 & mask
    values = []
    for i in range(1, n + 1):
        z = (start + i * 0x9E3779B97F4A7C15) & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        z ^= z >> 31
        values.append(2 * (z >> 40) / (1 << 24) - 1)
    return torch.tensor(values, dtype=torch.float64)


def formula(name, shape):
    """The weight or buffer of the golden files, for the names that this network has."""
    n, last = torch.Size(shape).numel(), name.rsplit(".")[-1]
    r = noise(name, n).reshape(shape)
    if last == "running_mean":
        return 0.1 * r
    if last == "running_var" or (last == "weight" and len(shape) == 1):
        return 1 + 0.1 * r
    return 0.1 * r if len(shape) <= 1 else r * (3 / (n / shape[0])) ** 0.5


def golden(file):
    from safetensors.torch import save_file

    net = Lite(4).double()
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(formula(name, tensor.shape).float())
    nir = ((noise("lite.nir", 2 * 45 * 70) + 1) / 2).float().double().reshape(2, 1, 45, 70)
    kept = {"eval.rgb": net.eval()(nir)}
    rgb = net.train()(nir)
    kept["train.rgb"] = rgb
    rgb.backward(noise("lite.cotangent.0", rgb.numel()).reshape(rgb.shape) / rgb.numel())
    for name, parameter in net.named_parameters():
        kept[f"gradnorm.param.{name}"] = parameter.grad.norm().reshape(1)
    for name, tensor in net.state_dict().items():
        if not name.startswith("encoder.") and "running" in name:
            kept[f"after.{name}"] = tensor
    save_file({name: tensor.detach().float().contiguous() for name, tensor in kept.items()}, file)


def timed(threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = Lite(32).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    nir = torch.rand(8, 1, 224, 224).contiguous(memory_format=torch.channels_last)
    rgb = torch.rand(8, 3, 224, 224)
    steps = []
    for _ in range(8):
        begin = time.perf_counter()
        optimizer.zero_grad()
        error = net(nir) - rgb
        ((error.square() + 1e-6).sqrt().mean() + 0.1 * (error.square().mean((1, 2, 3)) + 1e-4).log().mean()).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        steps.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{statistics.median(steps[2:]):.3f} s a step, peak resident {peak:.0f} MiB, {threads} threads, torch {torch.__version__}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["golden"]:
        golden(sys.argv[2])
    else:
        timed(int(sys.argv[2]))
