"""Where the time of a training step goes: shares of the processor time by kind of operation.

    cargo build --release
    perf record -F 99 --call-graph dwarf,16000 -o step.perf target/release/colormamba run MANIFEST --stop-after 20
    perf script -i step.perf | python3 benches/where.py
"""
import collections
import re
import sys

# The first pattern that fits any frame of a sample's stack, inlined ones included, names its kind.
KINDS = [
    ("data", r"colormamba_data|png::|fdeflate"),
    ("Adam", r"layers::adam"),
    ("losses", r"colormamba_losses"),
    ("selective scan", r"colormamba_ssm::(plan|kernel|scan|lanes)"),
    ("agent attention", r"ops::attention"),
    ("criss-cross attention", r"ops::criss_cross"),
    ("depthwise convolution", r"conv::depthwise"),
    ("convolution: weight gradient", r"conv::weight"),
    ("convolution: im2col of forward and input gradient", r"conv::columns"),
    ("convolution: products of forward and input gradient", r"ops::conv"),
    ("linear", r"ops::linear"),
    ("instance, layer, batch norm", r"ops::norm"),
    ("activations", r"ops::activation"),
    ("concatenations, transposes", r"ops::arrange"),
    ("bias gradients", r"ops::sums"),
    ("elementwise", r"ops::elementwise"),
    ("pooling, resizing, padding", r"ops::(separable|pool|filter|resize|pad)"),
    ("autograd: clearing gradients", r"zeros_like|or_insert|zeros_impl"),
    ("autograd: adding gradients", r"binary_map|Tensor::add|BarrierPool"),
    ("candle's waiting workers", r"candle_core::utils"),
    ("candle, other", r"candle_core"),
    ("waiting", r"wait_until|sleep|sched_yield|finish_task"),
]

shares = collections.Counter()
for sample in sys.stdin.read().split("\n\n"):
    if "\n" in sample.strip():
        shares[next((kind for kind, pattern in KINDS if re.search(pattern, sample)), "other")] += 1
for kind, count in shares.most_common():
    print(f"{100 * count / shares.total():5.1f} %  {kind}")
