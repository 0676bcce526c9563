"""Values of measures from NumPy, SciPy and scikit-image on the images of tests/fixtures/metrics.safetensors, as JSON.

    pip install -r benches/peers/requirements-metrics.txt
    python benches/peers/metrics_reference.py > tests/fixtures/metrics_reference.json
"""
import json
import pathlib

import numpy as np
import scipy
import skimage
from safetensors.numpy import load_file
from scipy import ndimage
from skimage.color import deltaE_ciede2000, rgb2lab, rgb2yiq
from skimage.metrics import structural_similarity

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures"


def luma(rgb):
    return rgb @ np.array([0.299, 0.587, 0.114])


def ssim_gauss(p, t):
    # The default truncation at 3.5 sigma makes 11 taps; the border of 5 is left out of the mean.
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return structural_similarity(p, t, channel_axis=-1, data_range=1, **options)


def ssim_mcfnet(p, t):
    return structural_similarity(p, t, channel_axis=-1, data_range=p.max() - p.min())


def ms_ssim(p, t):
    taps = np.exp(-np.arange(-5, 6) ** 2 / (2 * 1.5**2))
    taps /= taps.sum()

    def blurred(x):
        x = ndimage.correlate1d(ndimage.correlate1d(x, taps, axis=0), taps, axis=1)
        return x[5:-5, 5:-5]

    product = np.ones(3)
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    for scale, weight in enumerate(weights):
        if scale > 0:
            h, w = (n // 2 * 2 for n in p.shape[:2])
            p, t = (x[:h, :w].reshape(h // 2, 2, w // 2, 2, 3).mean(axis=(1, 3)) for x in (p, t))
        mp, mt = blurred(p), blurred(t)
        vp, vt, cov = blurred(p * p) - mp * mp, blurred(t * t) - mt * mt, blurred(p * t) - mp * mt
        part = (2 * cov + 0.03**2) / (vp + vt + 0.03**2)
        if scale + 1 == len(weights):
            part = part * (2 * mp * mt + 0.01**2) / (mp * mp + mt * mt + 0.01**2)
        product *= np.maximum(part.mean(axis=(0, 1)), 0) ** weight
    return product.mean()


def ciede2000_p95(p, t):
    return np.percentile(deltaE_ciede2000(rgb2lab(p), rgb2lab(t)), 95)


def hue(p, t):
    p, t = rgb2lab(p), rgb2lab(t)
    a, b = p[..., 1] + 1j * p[..., 2], t[..., 1] + 1j * t[..., 2]
    angle = np.degrees(np.abs(np.angle(a * np.conj(b))))
    angle = np.where(np.abs(a) < 0.1, 90, angle)
    return np.average(angle, weights=np.where(np.abs(b) < 0.1, 0, np.abs(b)))


def colourfulness(rgb):
    r, g, b = np.moveaxis(rgb, -1, 0)
    red_green, yellow_blue = r - g, (r + g) / 2 - b
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean())


def phase_congruency(image):
    """Kovesi's, with the parameters and the estimate of noise of Zhang, Zhang, Mou and Zhang (2011), on an even size."""
    rows, columns = image.shape
    x, y = np.meshgrid(np.fft.fftfreq(columns), np.fft.fftfreq(rows))
    # The angle starts from piq's axis, which decides on the highest frequency of an even size, of one sign.
    radius, theta = np.hypot(x, y), np.arctan2(-x, y)
    low_pass = 1 / (1 + (radius / 0.45) ** 30)
    radius[0, 0] = 1
    spectrum = np.fft.fft2(image)
    energies, amplitudes = 0, 0
    for orientation in range(4):
        angle = theta - orientation * np.pi / 4
        away = np.abs(np.arctan2(np.sin(angle), np.cos(angle)))
        spread = np.exp(-(away**2) / (2 * (np.pi / 4 / 1.2) ** 2))
        filters = []
        for scale in range(4):
            gabor = np.exp(-(np.log(radius * 6 * 2**scale) ** 2) / (2 * np.log(0.55) ** 2)) * low_pass * spread
            gabor[0, 0] = 0
            filters.append(gabor)
        waves = np.array([np.fft.ifft2(spectrum * gabor) for gabor in filters])
        even = np.array([np.fft.ifft2(gabor).real * np.sqrt(image.size) for gabor in filters])
        total = waves.sum(axis=0)
        phase = total / (np.abs(total) + np.finfo(float).eps)
        along, across = (waves * np.conj(phase)).real, (waves * np.conj(phase)).imag
        energy = (along - np.abs(across)).sum(axis=0)
        # The median of a Rayleigh law squared is ln 2 times its mean; Matlab's takes the lower of the middle two.
        power = np.sort(np.abs(waves[0]).ravel() ** 2)[(image.size - 1) // 2] / np.log(2) / (filters[0] ** 2).sum()
        pairs = sum((even[i] * even[j]).sum() for i in range(4) for j in range(i + 1, 4))
        noise = 2 * power * (even**2).sum() + 4 * power * pairs
        tau = np.sqrt(noise / 2)
        threshold = (tau * np.sqrt(np.pi / 2) + 2 * np.sqrt((2 - np.pi / 2) * tau**2)) / 1.7
        energies = energies + np.maximum(energy - threshold, 0)
        amplitudes = amplitudes + np.abs(waves).sum(axis=0)
    return energies / amplitudes


def fsim(p, t):
    scharr = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16

    def features(rgb):
        image = 255 * rgb2yiq(rgb)[..., 0]
        gradient = np.hypot(*(ndimage.convolve(image, k, mode="constant") for k in (scharr, scharr.T)))
        return phase_congruency(image), gradient

    (phase_p, gradient_p), (phase_t, gradient_t) = features(p), features(t)
    alike = (2 * phase_p * phase_t + 0.85) / (phase_p**2 + phase_t**2 + 0.85)
    alike *= (2 * gradient_p * gradient_t + 160) / (gradient_p**2 + gradient_t**2 + 160)
    return np.average(alike, weights=np.maximum(phase_p, phase_t))


def sharpness(p, t):
    def gradient(rgb):
        steps = [ndimage.sobel(luma(rgb), axis)[1:-1, 1:-1] for axis in (0, 1)]
        return np.hypot(*steps).mean()

    return gradient(p) / gradient(t)


def slope(rgb):
    image = luma(rgb)
    h, w = image.shape
    side = min(h, w)
    hann = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (h, w)]
    power = np.abs(np.fft.fft2((image - image.mean()) * np.outer(*hann))) ** 2 / image.size
    down, across = (((np.arange(n) + n // 2) % n - n // 2) * side / n for n in (h, w))
    ring = np.floor(np.sqrt(down[:, None] ** 2 + across**2) + 0.5).astype(int)
    rings = np.arange(1, side // 2 + 1)
    means = ndimage.mean(power, ring, rings)
    return np.polyfit(np.log(rings), np.log(means + 1e-10), 1)[0]


def difference(measure):
    return lambda p, t: measure(p) - measure(t)


NUMPY, SCIPY, SKIMAGE = "NumPy", "SciPy", "scikit-image"
MEASURES = {
    "ssim[gauss11,sigma1.5,valid,rgb,L=1]": (SKIMAGE, ssim_gauss),
    "ssim[mcfnet]": (SKIMAGE, ssim_mcfnet),
    "ms_ssim[gauss11,sigma1.5,rgb,L=1]": (SCIPY, ms_ssim),
    "ciede2000[srgb,D65,p95]": (SKIMAGE, ciede2000_p95),
    "hue[cielab,chroma-weighted,deg]": (SKIMAGE, hue),
    "colourfulness-difference[hasler-susstrunk,rgb,L=1]": (NUMPY, difference(colourfulness)),
    "fsim[yiq-luma,log-gabor4x4,scharr,L=255]": (NUMPY, fsim),
    "sharpness[gradient-ratio,bt601-luma,sobel]": (SCIPY, sharpness),
    "spectral-slope[difference,bt601-luma,hann]": (NUMPY, difference(slope)),
}


def main():
    images = {name: image / 255 for name, image in load_file(FIXTURES / "metrics.safetensors").items()}
    target = images["target"]
    preds = {name.removeprefix("pred."): image for name, image in images.items() if name.startswith("pred.")}
    versions = {NUMPY: np.__version__, SCIPY: scipy.__version__, SKIMAGE: skimage.__version__}

    def entry(spec):
        library, measure = MEASURES[spec]
        values = {name: float(measure(preds[name], target)) for name in sorted(preds)}
        return {"measure": spec, "implementation": f"{library} {versions[library]}", "values": values}

    print(json.dumps([entry(spec) for spec in MEASURES], indent=1))


main()
