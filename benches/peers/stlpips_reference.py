"""ST-LPIPS by its authors' package: the weights that this repository holds, and values to compare with.

    pip install -r benches/peers/requirements-stlpips.txt
    python benches/peers/stlpips_reference.py

writes weights/stlpips/*.safetensors from the package's own weights and tests/fixtures/stlpips_reference.json from its values
on the images of tests/fixtures/metrics.safetensors. All values are computed in f64 from f32 weights; `f16` means that the
convolutions' weights were rounded to f16 before.
"""
import hashlib
import json
import pathlib

import numpy as np
import stlpips_pytorch
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from stlpips_pytorch import stlpips

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
WEIGHTS = ROOT / "weights" / "stlpips"
PUBLISHED = pathlib.Path(stlpips_pytorch.__file__).parent / "weights" / "vST0.0"
SHA256 = {
    "vgg": "44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250",
    "alex": "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
}
CLASSIFIER = {"vgg": "st-vgg16", "alex": "st-alexnet"}
GOLDEN = 0x9E3779B97F4A7C15


def published(name):
    path = PUBLISHED / f"{name}_shift_tolerant.pth"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[name], path
    return torch.load(path, map_location="cpu", weights_only=True)


def convolutions(state):
    return {key: value for key, value in state.items() if key.startswith("net.") and not key.endswith(".filt")}


def linear(state):
    """One weight a channel, as the files of weights/lpips/ have them."""
    return {f"lin{i}": state[f"lin{i}.model.1.weight"].flatten().clone() for i in range(5)}


def formula(name, shape):
    """Weights that follow from their name, as tests/src/formula.rs has them."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    noise = 2.0 * (z >> np.uint64(40)).astype(np.float64) / 2.0**24 - 1.0
    scale = 0.1 if len(shape) == 1 else np.sqrt(3.0 * shape[0] / count)
    return torch.tensor((scale * noise).astype(np.float32).reshape(shape))


def model(name, state):
    net = stlpips.LPIPS(net=name, variant="shift_tolerant", pretrained=False, verbose=False)
    net.load_state_dict(state, strict=False)
    return net.double().eval()


def variants(name):
    state = published(name)
    conv = convolutions(state)
    yield "f32", state
    yield "f16", state | {key: value.half().float() for key, value in conv.items()}
    yield "formula", state | {key: formula(f"{CLASSIFIER[name]}.{key}", value.shape) for key, value in conv.items()}


def image(array):
    return torch.tensor(array, dtype=torch.float64).permute(2, 0, 1)[None] / 255.0


def main():
    WEIGHTS.mkdir(exist_ok=True)
    alexnet = {key: value.half() for key, value in convolutions(published("alex")).items()}
    save_file(alexnet, WEIGHTS / "alexnet.safetensors")
    for name in ("vgg", "alex"):
        save_file(linear(published(name)), WEIGHTS / f"{name}.safetensors")
    images = load_file(FIXTURES / "metrics.safetensors")
    target = image(images.pop("target"))
    values = {}
    for name in ("vgg", "alex"):
        for weights, state in variants(name):
            net = model(name, state)
            with torch.no_grad():
                distances = {
                    key.removeprefix("pred."): net(image(array), target, normalize=True).item()
                    for key, array in images.items()
                }
            values[f"st-lpips[{name}], {weights}"] = distances
    (FIXTURES / "stlpips_reference.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
