"""DINOv2's class token by transformers, and distances of two sets by NumPy and SciPy, as JSON.

    pip install -r benches/peers/requirements-dinov2.txt
    python benches/peers/dinov2_reference.py > tests/fixtures/dinov2_reference.json

The network is a small one with the patches, positions and image of ViT-L/14; its weights follow from their names, which
are those of the published file. `transformers` is its own resizing of the positions, `hub` that of the authors'
program, which stretches by (16 + 0.1) / 37 (facebookresearch/dinov2, interpolate_offset = 0.1).
"""
import json
import tempfile
from pathlib import Path

import numpy as np
import scipy
import torch
import transformers
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

GOLDEN = 0x9E3779B97F4A7C15
WIDTH, DEPTH, HEADS, TRAINED, SIDE = 32, 3, 2, 37, 16
# Images of the one set and of the other, and features.
SETS = {"full rank": (60, 45, 6), "one deficient": (40, 9, 12), "deficient": (7, 10, 24), "two each": (2, 2, 5)}


def noise(name, count):
    """As tests/src/formula.rs has it."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return 2.0 * (z >> np.uint64(40)).astype(np.float64) / 2.0**24 - 1.0


def weight(name, shape):
    """tests/src/formula.rs, but for scales of layers near 1 and tokens of the size of the patches: all shall matter."""
    count = int(np.prod(shape))
    last = name.rsplit(".", 1)[-1]
    if last in ("cls_token", "position_embeddings"):
        values = noise(name, count)
    elif last == "lambda1" or last == "weight" and len(shape) == 1:
        values = 1.0 + 0.1 * noise(name, count)
    elif len(shape) == 1:
        values = 0.1 * noise(name, count)
    else:
        values = np.sqrt(3.0 * shape[0] / count) * noise(name, count)
    return torch.tensor(values.astype(np.float32).reshape(shape))


def published_name(name):
    for ours, theirs in [
        ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
    ]:
        name = name.replace(ours, theirs)
    return name


def network():
    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        image_size=14 * TRAINED,
        patch_size=14,
        attn_implementation="eager",
    )
    state = {published_name(name): value.shape for name, value in Dinov2Model(config).state_dict().items()}
    # Through a file, so that transformers itself says that these are the names of published files.
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        tensors = {name: weight(name, tuple(shape)) for name, shape in state.items()}
        save_file(tensors, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        model, report = Dinov2Model.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    return model.eval()


def hub_positions(self, embeddings, height, width):
    """The authors' interpolate_pos_encoding."""
    dim = self.position_embeddings.shape[-1]
    patches = self.position_embeddings[:, 1:].reshape(1, TRAINED, TRAINED, dim).permute(0, 3, 1, 2)
    scale = tuple((side // 14 + 0.1) / TRAINED for side in (height, width))
    patches = torch.nn.functional.interpolate(patches, scale_factor=scale, mode="bicubic", antialias=False)
    assert patches.shape[-2:] == (height // 14, width // 14)
    return torch.cat((self.position_embeddings[:, :1], patches.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)


def features(model):
    side = 14 * SIDE
    image = torch.tensor(((noise("dinov2.image", 2 * 3 * side * side) + 1) / 2).astype(np.float32))
    image = image.reshape(2, 3, side, side)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        return model(pixel_values=(image - mean) / std).last_hidden_state[:, 0].double().numpy()


def frechet(x, y):
    a, b = (np.atleast_2d(np.cov(z, rowvar=False)) for z in (x, y))
    gap = ((x.mean(0) - y.mean(0)) ** 2).sum()
    if min(len(x), len(y)) > x.shape[1]:
        root = np.trace(scipy.linalg.sqrtm(a @ b)).real
    else:
        # SciPy's root is of a singular matrix here: the same trace as the singular values of the centred sets' product.
        p, q = ((z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (x, y))
        root = np.linalg.svd(p @ q.T, compute_uv=False).sum()
    return gap + np.trace(a) + np.trace(b) - 2 * root


def kernel(x, y):
    def k(p, q):
        return (p @ q.T / p.shape[1] + 1) ** 3

    def off_diagonal(p):
        return (k(p, p).sum() - np.trace(k(p, p))) / (len(p) * (len(p) - 1))

    return off_diagonal(x) + off_diagonal(y) - 2 * k(x, y).mean()


def distances(name):
    first, second, width = SETS[name]
    # Mixed features, so that neither covariance is diagonal.
    mix = [np.eye(width) + 0.5 * noise(f"{name}.mix{i}", width * width).reshape(width, width) for i in (0, 1)]
    x = noise(f"{name}.x", first * width).reshape(first, width) @ mix[0]
    y = 0.3 + 1.5 * noise(f"{name}.y", second * width).reshape(second, width) @ mix[1]
    return {"images": [first, second], "width": width, "frechet": frechet(x, y), "kernel": kernel(x, y)}


def main():
    model = network()
    by_transformers = features(model)
    Dinov2Embeddings.interpolate_pos_encoding = hub_positions
    print(
        json.dumps(
            {
                "versions": {library.__name__: library.__version__ for library in (transformers, torch, scipy)},
                "features": {"transformers": by_transformers.tolist(), "hub": features(model).tolist()},
                "sets": {name: distances(name) for name in SETS},
            },
            indent=1,
        )
    )


main()
