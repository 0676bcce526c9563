"""Losses in PyTorch as they are usually written, for comparison: each is a function that returns the value of a prediction
against a target and leaves the gradient in the prediction.
"""
import functools

import torch
import torch.nn.functional as F
from torch import nn

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
C1, C2 = 0.01**2, 0.03**2


def histogram(p, t, bins=256):
    """Triangular soft histograms by broadcasting pixels against centres; the distance of their cumulative sums."""
    width, centres = 1 / (bins - 1) + 1e-6, torch.linspace(0, 1, bins)

    def cumulative(x):
        x = x.flatten(2).unsqueeze(-1)
        return (F.relu(width - (x - centres).abs()) / width).mean(dim=2).cumsum(dim=-1)

    return (cumulative(p) - cumulative(t)).abs().mean()


def window(size=11, sigma=1.5):
    x = torch.arange(size) - size // 2
    taps = torch.exp(-(x**2) / (2 * sigma**2))
    return taps / taps.sum()


@functools.cache
def taps_on(device):
    return window().to(device)


def blurred(x):
    """Along one axis and then along the other."""
    c, taps = x.shape[1], taps_on(x.device)
    x = F.conv2d(x, taps.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)
    return F.conv2d(x, taps.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)


def similarity(p, t):
    c = p.shape[1]
    mp, mt, pp, tt, pt = blurred(torch.cat([p, t, p * p, t * t, p * t], dim=1)).split(c, dim=1)
    cs = (2 * (pt - mp * mt) + C2) / (pp - mp * mp + tt - mt * mt + C2)
    return (2 * mp * mt + C1) / (mp * mp + mt * mt + C1) * cs, cs


def ssim(p, t):
    return 1 - similarity(p, t)[0].mean()


def ms_ssim(p, t):
    product = 1
    for scale, weight in enumerate(WEIGHTS):
        if scale > 0:
            p, t = F.avg_pool2d(p, 2), F.avg_pool2d(t, 2)
        full, cs = similarity(p, t)
        means = (full if scale + 1 == len(WEIGHTS) else cs).mean(dim=(2, 3))
        product = product * F.relu(means) ** weight
    return 1 - product.mean()


class VGG(nn.Module):
    """Blocks of 3x3 convolutions with ReLUs, 2x2 max pooling between them; returns the features after some ReLUs."""

    WIDTHS = (64, 128, 256, 512, 512)

    def __init__(self, depths, taps):
        super().__init__()
        self.taps, inputs, blocks = taps, 3, []
        for block, depth in enumerate(depths):
            convs = []
            for k in range(depth):
                convs.append(nn.Conv2d(inputs, self.WIDTHS[block], 3, padding=1))
                inputs = self.WIDTHS[block]
                if (block + 1, k + 1) == max(taps):
                    break
            blocks.append(nn.ModuleList(convs))
            if block + 1 == max(taps)[0]:
                break
        self.blocks = nn.ModuleList(blocks).requires_grad_(False)
        self.mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def forward(self, x):
        x, out = (x - self.mean) / self.std, []
        for b, block in enumerate(self.blocks):
            if b > 0:
                x = F.max_pool2d(x, 2)
            for k, conv in enumerate(block):
                x = F.relu(conv(x))
                if (b + 1, k + 1) in self.taps:
                    out.append(x)
        return out


def against(network, distance):
    """The distance of features; the target's take no gradient."""

    def loss(p, t):
        with torch.no_grad():
            target = network(t)
        return sum(distance(k, a, b) for k, (a, b) in enumerate(zip(network(p), target)))

    return loss


def vgg():
    return against(VGG((2, 2, 4, 4, 4), [(4, 1)]), lambda k, a, b: F.mse_loss(a, b))


def lpips():
    network = VGG((2, 2, 3, 3, 3), [(1, 2), (2, 2), (3, 3), (4, 3), (5, 3)])
    weights = [torch.rand(1, width, 1, 1) for width in VGG.WIDTHS]

    def unit(x):
        return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)

    def distance(k, a, b):
        return F.conv2d((unit(a) - unit(b)).square(), weights[k]).mean(dim=(2, 3)).mean()

    return against(network, distance)


LOSSES = {
    "histogram": lambda: histogram,
    "ssim": lambda: ssim,
    "ms_ssim": lambda: ms_ssim,
    "vgg": vgg,
    "lpips": lpips,
}
