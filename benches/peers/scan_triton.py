"""The selective scan in Triton, forward and backward: the peer of our scans on a GPU.

    python scan_triton.py --check          against plain PyTorch; on the processor with TRITON_INTERPRET=1

A program takes one sequence, a block of its channels and a part of its steps; the states of the block stay in registers, four
threads a channel. Sequences are token-major, so that the channels of a step are one row: what comes otherwise is copied. Where
sequences are cut into parts, a first pass finds each part's last states from zeros and each program chains those of the parts
before its own. The forward pass keeps the states before each chunk; the backward pass recomputes the others of a chunk into
registers. States, sums and parameters are f32, inputs f32 or bf16.

How blocks, chunks and parts are cut is chosen by time, once a shape.

Source: Gu & Dao 2023, arXiv 2312.00752 (scan); Liu et al. 2024, arXiv 2401.10166 (four directions).
"""
import itertools
import os
import sys
import typing

# Multiplications and additions as one instruction; from Triton 3.10 on no longer unasked.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import torch
import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
DIRECTIONS = 4


# ------------------------------------------------------------------------------------------------------- layouts


@triton.jit
def softplus(x):
    # log(w) e / (w - 1) is log1p(e) to the last bits, which log(1 + e) is not for small steps.
    e = tl.exp(x)
    w = 1 + e
    small = w == 1
    return tl.where(x > 20, x, tl.where(small, e, tl.log(w) * e / tl.where(small, 1.0, w - 1)))


@triton.jit
def _token_major(
    x, bias, out, length, padded, groups, of_image, of_step, of_group, of_column,
    COUNT: tl.constexpr, STEPS: tl.constexpr, COLUMNS: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """x (B, L, K, X) of any strides -> (B, padded, K, X), zeros after L; softplus(x + bias) if asked."""
    sequence = tl.program_id(2).to(tl.int64)
    image, group = sequence // groups, sequence % groups
    step = tl.program_id(1) * STEPS + tl.arange(0, STEPS)[:, None]
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    there = (step < length) & (column < COUNT)
    x += image * of_image + group * of_group
    value = tl.load(x + step * of_step + column * of_column, mask=there, other=0)
    if SOFTPLUS:
        shift = tl.load(bias + group * COUNT + column, mask=column < COUNT, other=0)
        value = tl.where(there, softplus(value.to(tl.float32) + shift), 0)
    out += (image * padded * groups + group) * COUNT
    tl.store(out + step * groups * COUNT + column, value, mask=(step < padded) & (column < COUNT))


def tiles(count, length, sequences):
    """A grid, and what its programs take."""
    steps, columns = 32, min(64, triton.next_power_of_2(count))
    return (triton.cdiv(count, columns), triton.cdiv(length, steps), sequences), (count, steps, columns)


def token_major(x, padded=None, bias=None):
    batch, length, groups, count = x.shape
    out = x.new_empty(batch, padded or length, groups, count, dtype=x.dtype if bias is None else torch.float32)
    grid, cut = tiles(count, out.shape[1], batch * groups)
    _token_major[grid](x, bias, out, length, out.shape[1], groups, *x.stride(), *cut, bias is not None)
    return out


def rows(x):
    return x if x.is_contiguous() else token_major(x)


@triton.jit
def _along_directions(
    x, out, height, width, of_pixel, of_direction,
    COUNT: tl.constexpr, STEPS: tl.constexpr, COLUMNS: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    """The rows of a map in the order of each direction: row by row, column by column, and both backwards."""
    image, direction = tl.program_id(2).to(tl.int64) // 4, tl.program_id(2) % 4
    length = height * width
    step = tl.program_id(1) * STEPS + tl.arange(0, STEPS)[:, None]
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    there = (step < length) & (column < COUNT)
    forth = tl.where(direction >= 2, length - 1 - step, step)
    pixel = tl.where(direction % 2 == 1, forth % height * width + forth // height, forth)
    on_map = x + (image * length + pixel) * of_pixel + direction * of_direction + column
    on_sequence = out + ((image * length + step) * 4 + direction) * COUNT + column
    if BACK:
        tl.store(on_map, tl.load(on_sequence, mask=there), mask=there)
    else:
        tl.store(on_sequence, tl.load(on_map, mask=there), mask=there)


@triton.jit
def _merge(y, out, height, width, COUNT: tl.constexpr, STEPS: tl.constexpr, COLUMNS: tl.constexpr):
    """The sum of what the four directions have for each pixel."""
    image = tl.program_id(2).to(tl.int64)
    length = height * width
    pixel = tl.program_id(1) * STEPS + tl.arange(0, STEPS)[:, None]
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    there = (pixel < length) & (column < COUNT)
    across, last = pixel % width * height + pixel // width, length - 1
    y += image * length * 4 * COUNT + column
    sum = tl.load(y + pixel * 4 * COUNT, mask=there).to(tl.float32)
    sum += tl.load(y + (across * 4 + 1) * COUNT, mask=there)
    sum += tl.load(y + ((last - pixel) * 4 + 2) * COUNT, mask=there)
    sum += tl.load(y + ((last - across) * 4 + 3) * COUNT, mask=there)
    tl.store(out + (image * length + pixel) * COUNT + column, sum, mask=there)


def along_directions(x, count):
    """(B, H, W, count), which all directions see, or (B, H, W, 4 count), of which each has its part -> (B, L, 4, count)."""
    batch, height, width, columns = x.shape
    out = x.new_empty(batch, height * width, DIRECTIONS, count)
    grid, cut = tiles(count, height * width, DIRECTIONS * batch)
    _along_directions[grid](x, out, height, width, columns, columns // DIRECTIONS if columns > count else 0, *cut, False)
    return out


class _Spread(torch.autograd.Function):
    """(B, H, W, D) -> (B, L, 4, D)."""

    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return along_directions(x.contiguous(), x.shape[3])

    @staticmethod
    def backward(ctx, grad):
        return _Merge.apply(grad, ctx.shape)


class _Merge(torch.autograd.Function):
    """The reverse."""

    @staticmethod
    def forward(ctx, y, shape):
        batch, height, width, count = shape
        out = y.new_empty(shape)
        grid, cut = tiles(count, height * width, batch)
        _merge[grid](y.contiguous(), out, height, width, *cut)
        return out

    @staticmethod
    def backward(ctx, grad):
        return _Spread.apply(grad), None


class _Deal(torch.autograd.Function):
    """(B, H, W, 4 X), of which each direction has its part -> (B, L, 4, X)."""

    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return along_directions(x.contiguous(), x.shape[3] // DIRECTIONS)

    @staticmethod
    def backward(ctx, grad):
        batch, height, width, columns = ctx.shape
        out = grad.new_empty(ctx.shape)
        grid, cut = tiles(columns // DIRECTIONS, height * width, DIRECTIONS * batch)
        _along_directions[grid](out, grad.contiguous(), height, width, columns, columns // DIRECTIONS, *cut, True)
        return out


# ---------------------------------------------------------------------------------------------------------- scans


@triton.jit
def load_steps(pointer, first, last, offsets, ROW: tl.constexpr, CHUNK: tl.constexpr):
    """The rows of a chunk, before anything is stored: loads do not pass stores. Those after the last are the last."""
    steps = ()
    for i in tl.static_range(CHUNK):
        steps = steps + (tl.load(pointer + tl.minimum(first + i, last) * ROW + offsets).to(tl.float32),)
    return steps


@triton.jit
def exists(step, length, WIDTH: tl.constexpr):
    """A mask of one element would do, but for Triton's interpreter."""
    return tl.full([WIDTH], step, tl.int32) < length


@triton.jit
def place(a, GROUPS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr):
    """Of this program: image, sequence, part; channels and their offsets in (D, N); columns of its channels in (K, D) and of
    its weights in (K, N); rates by powers of two."""
    sequence = tl.program_id(2).to(tl.int64)
    image, group = sequence // GROUPS, (sequence % GROUPS).to(tl.int32)
    channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    state = tl.arange(0, STATES)
    column = group * CHANNELS + channel
    rate = tl.load(a + column[:, None] * STATES + state[None, :]) * LOG2_E
    at = channel[:, None] * STATES + state[None, :]
    return image, sequence, tl.program_id(1), channel, at, column, group * STATES + state, rate


@triton.jit
def chained(states, ends, sums, rate, part, at, channel, CHANNELS: tl.constexpr, STATES: tl.constexpr):
    """The states after one more part, given its states from zeros and the sum of its steps."""
    end = tl.load(ends + part * CHANNELS * STATES + at)
    sum = tl.load(sums + part * CHANNELS + channel)
    return tl.exp2(sum[:, None] * rate) * states + end


@triton.jit
def _ends(
    u, dt, b, a, ends, sums, length, steps_of_part,
    GROUPS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The last states of each part (S, P, D, N) from zeros, and the sums of its steps (S, P, D)."""
    image, sequence, part, channel, at, column, weight, rate = place(a, GROUPS, CHANNELS, STATES, BLOCK)
    parts, last = tl.num_programs(1), length - 1
    u += image * length * GROUPS * CHANNELS
    b += image * length * GROUPS * STATES
    dt += image * parts * steps_of_part * GROUPS * CHANNELS
    h = tl.zeros([BLOCK, STATES], tl.float32)
    sum = tl.zeros([BLOCK], tl.float32)
    begin = part * steps_of_part
    for first in range(begin, begin + steps_of_part, CHUNK):
        us = load_steps(u, first, last, column, GROUPS * CHANNELS, CHUNK)
        dts = load_steps(dt, first, first + CHUNK, column, GROUPS * CHANNELS, CHUNK)
        bs = load_steps(b, first, last, weight, GROUPS * STATES, CHUNK)
        for i in tl.static_range(CHUNK):
            h = tl.exp2(dts[i][:, None] * rate) * h + (dts[i] * us[i])[:, None] * bs[i][None, :]
            sum += dts[i]
    tl.store(ends + (sequence * parts + part) * CHANNELS * STATES + at, h)
    tl.store(sums + (sequence * parts + part) * CHANNELS + channel, sum)


@triton.jit
def _forward(
    u, dt, b, c, a, d, ends, sums, y, kept, length, steps_of_part,
    GROUPS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
    KEEP: tl.constexpr,
):  # fmt: skip
    image, sequence, part, channel, at, column, weight, rate = place(a, GROUPS, CHANNELS, STATES, BLOCK)
    parts, last = tl.num_programs(1), length - 1
    skip = tl.load(d + column)
    u += image * length * GROUPS * CHANNELS
    y += image * length * GROUPS * CHANNELS
    b += image * length * GROUPS * STATES
    c += image * length * GROUPS * STATES
    dt += image * parts * steps_of_part * GROUPS * CHANNELS
    ends += sequence * parts * CHANNELS * STATES
    sums += sequence * parts * CHANNELS
    kept += sequence * (parts * steps_of_part // CHUNK) * CHANNELS * STATES
    h = tl.zeros([BLOCK, STATES], tl.float32)
    for before in range(part):
        h = chained(h, ends, sums, rate, before, at, channel, CHANNELS, STATES)
    begin = part * steps_of_part
    for first in range(begin, begin + steps_of_part, CHUNK):
        us = load_steps(u, first, last, column, GROUPS * CHANNELS, CHUNK)
        dts = load_steps(dt, first, first + CHUNK, column, GROUPS * CHANNELS, CHUNK)
        bs = load_steps(b, first, last, weight, GROUPS * STATES, CHUNK)
        cs = load_steps(c, first, last, weight, GROUPS * STATES, CHUNK)
        if KEEP:
            tl.store(kept + (first // CHUNK) * CHANNELS * STATES + at, h)
        for i in tl.static_range(CHUNK):
            h = tl.exp2(dts[i][:, None] * rate) * h + (dts[i] * us[i])[:, None] * bs[i][None, :]
            out = tl.sum(h * cs[i][None, :], axis=1) + skip * us[i]
            tl.store(y + (first + i) * GROUPS * CHANNELS + column, out, mask=exists(first + i, length, BLOCK))


@triton.jit
def _gradient_ends(
    dt, c, dy, a, ends, length, steps_of_part,
    GROUPS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """What each part adds to the gradient of the states before it (S, P, D, N), if nothing comes after it."""
    image, sequence, part, channel, at, column, weight, rate = place(a, GROUPS, CHANNELS, STATES, BLOCK)
    parts, last = tl.num_programs(1), length - 1
    dy += image * length * GROUPS * CHANNELS
    c += image * length * GROUPS * STATES
    dt += image * parts * steps_of_part * GROUPS * CHANNELS
    g = tl.zeros([BLOCK, STATES], tl.float32)
    begin = part * steps_of_part
    for chunk in range(steps_of_part // CHUNK):
        first = begin + steps_of_part - (chunk + 1) * CHUNK
        dts = load_steps(dt, first, first + CHUNK, column, GROUPS * CHANNELS, CHUNK)
        cs = load_steps(c, first, last, weight, GROUPS * STATES, CHUNK)
        dys = load_steps(dy, first, last, column, GROUPS * CHANNELS, CHUNK)
        for i in tl.static_range(CHUNK - 1, -1, -1):
            dout = tl.where(exists(first + i, length, BLOCK), dys[i], 0)
            g = tl.exp2(dts[i][:, None] * rate) * (g + dout[:, None] * cs[i][None, :])
    tl.store(ends + (sequence * parts + part) * CHANNELS * STATES + at, g)


@triton.jit
def slope(dt):
    """1 - exp(-dt), the derivative of softplus at its value; the sum of powers where the difference would cancel."""
    powers = dt * (1 - dt * (1 / 2 - dt * (1 / 6 - dt * (1 / 24 - dt * (1 / 120)))))
    return tl.where(dt < 0.25, powers, 1 - tl.exp(-dt))


@triton.jit
def _backward(
    u, dt, b, c, dy, a, d, ends, sums, kept, du, ddelta, db, dc, da, dd, dbias, length, steps_of_part,
    GROUPS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    image, sequence, part, channel, at, column, weight, rate = place(a, GROUPS, CHANNELS, STATES, BLOCK)
    parts, last = tl.num_programs(1), length - 1
    skip = tl.load(d + column)
    u += image * length * GROUPS * CHANNELS
    dy += image * length * GROUPS * CHANNELS
    du += image * length * GROUPS * CHANNELS
    ddelta += image * length * GROUPS * CHANNELS
    b += image * length * GROUPS * STATES
    c += image * length * GROUPS * STATES
    db += image * length * GROUPS * STATES
    dc += image * length * GROUPS * STATES
    dt += image * parts * steps_of_part * GROUPS * CHANNELS
    ends += sequence * parts * CHANNELS * STATES
    sums += sequence * parts * CHANNELS
    kept += sequence * (parts * steps_of_part // CHUNK) * CHANNELS * STATES
    # Of the states before the step, by way of the step.
    g = tl.zeros([BLOCK, STATES], tl.float32)
    for after in range(parts - 1 - part):
        g = chained(g, ends, sums, rate, parts - 1 - after, at, channel, CHANNELS, STATES)
    drate = tl.zeros([BLOCK, STATES], tl.float32)
    dskip = tl.zeros([BLOCK], tl.float32)
    dshift = tl.zeros([BLOCK], tl.float32)
    begin = part * steps_of_part
    for chunk in range(steps_of_part // CHUNK):
        first = begin + steps_of_part - (chunk + 1) * CHUNK
        h = tl.load(kept + (first // CHUNK) * CHANNELS * STATES + at)
        us = load_steps(u, first, last, column, GROUPS * CHANNELS, CHUNK)
        dts = load_steps(dt, first, first + CHUNK, column, GROUPS * CHANNELS, CHUNK)
        bs = load_steps(b, first, last, weight, GROUPS * STATES, CHUNK)
        cs = load_steps(c, first, last, weight, GROUPS * STATES, CHUNK)
        dys = load_steps(dy, first, last, column, GROUPS * CHANNELS, CHUNK)
        hs = (h,)
        for i in tl.static_range(CHUNK):
            h = tl.exp2(dts[i][:, None] * rate) * h + (dts[i] * us[i])[:, None] * bs[i][None, :]
            hs = hs + (h,)
        for i in tl.static_range(CHUNK - 1, -1, -1):
            there, here = exists(first + i, length, BLOCK), exists(first + i, length, STATES)
            dout = tl.where(there, dys[i], 0)
            dh = g + dout[:, None] * cs[i][None, :]
            of_step = (first + i) * GROUPS * STATES + weight
            tl.atomic_add(dc + of_step, tl.sum(dout[:, None] * hs[i + 1], axis=0), here, "relaxed")
            tl.atomic_add(db + of_step, tl.sum((dts[i] * us[i])[:, None] * dh, axis=0), here, "relaxed")
            weighted = tl.sum(dh * bs[i][None, :], axis=1)
            g = tl.exp2(dts[i][:, None] * rate) * dh
            through = g * hs[i]
            drate += dts[i][:, None] * through
            draw = (us[i] * weighted + tl.sum(through * rate, axis=1) * LN_2) * slope(dts[i])
            dshift += draw
            dskip += dout * us[i]
            tl.store(du + (first + i) * GROUPS * CHANNELS + column, dts[i] * weighted + skip * dout, mask=there)
            tl.store(ddelta + (first + i) * GROUPS * CHANNELS + column, draw, mask=there)
    tl.atomic_add(da + column[:, None] * STATES + tl.arange(0, STATES)[None, :], drate, sem="relaxed")
    tl.atomic_add(dd + column, dskip, sem="relaxed")
    tl.atomic_add(dbias + column, dshift, sem="relaxed")


class Plan(typing.NamedTuple):
    """How the work is cut: channels of a program, steps of a chunk, parts of a sequence."""

    block: int
    chunk: int
    parts: int


class _Scan(torch.autograd.Function):
    """u, delta (B, L, K, D); b, c (B, L, K, N); a (K D, N); d, bias (K D)."""

    @staticmethod
    def forward(ctx, plan, u, delta, a, b, c, d, bias):
        (batch, length, groups, channels), states = u.shape, a.shape[1]
        chunks = triton.cdiv(triton.cdiv(length, plan.parts), plan.chunk)
        steps_of_part = chunks * plan.chunk
        parts = triton.cdiv(length, steps_of_part)
        u, b, c = rows(u), rows(b), rows(c)
        dt = token_major(delta, parts * steps_of_part, bias)
        sizes = length, steps_of_part
        cut = groups, channels, states, plan.block, plan.chunk
        grid = channels // plan.block, parts, batch * groups
        ends, sums = dt.new_empty(batch * groups, parts, channels, states), dt.new_empty(batch * groups, parts, channels)
        if parts > 1:
            _ends[grid](u, dt, b, a, ends, sums, *sizes, *cut, num_warps=1)
        keep = any(ctx.needs_input_grad)
        kept = dt.new_empty(batch * groups, parts * chunks, channels, states) if keep else ends
        y = torch.empty_like(u)
        _forward[grid](u, dt, b, c, a, d, ends, sums, y, kept, *sizes, *cut, keep, num_warps=1)
        ctx.save_for_backward(u, dt, a, b, c, d, sums, kept)
        ctx.launch, ctx.delta_type = (grid, sizes, cut), delta.dtype
        return y

    @staticmethod
    def backward(ctx, dy):
        u, dt, a, b, c, d, sums, kept = ctx.saved_tensors
        grid, sizes, cut = ctx.launch
        dy = rows(dy)
        ends = dt.new_empty(*sums.shape, a.shape[1])
        if grid[1] > 1:
            _gradient_ends[grid](dt, c, dy, a, ends, *sizes, *cut, num_warps=1)
        du, ddelta = torch.empty_like(u), torch.empty_like(u, dtype=ctx.delta_type)
        # What several programs add to; one piece is one launch to clear.
        shapes = b.shape, c.shape, a.shape, d.shape, d.shape
        cleared = dt.new_zeros(sum(shape.numel() for shape in shapes)).split([shape.numel() for shape in shapes])
        db, dc, da, dd, dbias = (piece.view(shape) for piece, shape in zip(cleared, shapes))
        grads = du, ddelta, db, dc, da, dd, dbias
        _backward[grid](u, dt, b, c, dy, a, d, ends, sums, kept, *grads, *sizes, *cut, num_warps=1)
        return None, du, ddelta, da, db.to(b.dtype), dc.to(c.dtype), dd, dbias


def plans(channels):
    # Those that the states of a chunk leave registers for.
    cuts = [(block, chunk) for block, chunk in ((32, 4), (16, 8), (16, 4), (8, 8)) if channels % block == 0]
    return [Plan(*cut, parts) for cut, parts in itertools.product(cuts, (1, 2, 4, 8, 16, 32))]


_FASTEST = {}


def fastest(inputs):
    """The plan with which a forward and a backward pass over such inputs take the least time."""
    u, a = inputs[0], inputs[2]
    key = u.shape, u.stride(), u.dtype, a.shape
    if key not in _FASTEST:
        leaves = [x.detach().requires_grad_() for x in inputs]

        @torch.enable_grad()
        def both(plan):
            y = _Scan.apply(plan, *leaves)
            torch.autograd.grad(y, leaves, torch.ones_like(y))

        time = lambda plan: triton.testing.do_bench(lambda: both(plan), warmup=5, rep=20)
        _FASTEST[key] = min(plans(u.shape[3]), key=time)
    return _FASTEST[key]


def scan(u, delta, a, b, c, d, bias, plan=None):
    """u, delta (B, L, K, D); b, c (B, L, K, N); a (K D, N), negative; d, bias (K D) -> (B, L, K, D)."""
    inputs = u, delta, a, b, c, d, bias
    return _Scan.apply(plan or fastest(inputs), *inputs)


def selective_scan(u, delta, A, B, C, D, delta_bias, plan=None):
    """As `colormamba_torch.selective_scan`: u, delta (B, K*D, L); B, C (B, K, N, L) -> (B, K*D, L), token-major in memory."""
    u, delta = (x.unflatten(1, (B.shape[1], -1)) for x in (u, delta))
    u, delta, B, C = (x.permute(0, 3, 1, 2) for x in (u, delta, B, C))
    return scan(u, delta, A, B, C, D, delta_bias, plan).flatten(2).transpose(1, 2)


def four_direction_scan(x, x_dbl, dt_weight, dt_bias, a_logs, ds, plan=None):
    """As `colormamba_ssm::four_direction_scan`: x (B, H, W, D), x_dbl (B, H, W, 4 (R + 2 N)) -> (B, H, W, D)."""
    rank, states = dt_weight.shape[2], a_logs.shape[1]
    low, b, c = _Deal.apply(x_dbl).split([rank, states, states], dim=3)
    delta = torch.einsum("blkr,kdr->blkd", low, dt_weight.to(low.dtype))
    y = scan(_Spread.apply(x), delta, -a_logs.exp(), b, c, ds, dt_bias.flatten(), plan)
    return _Merge.apply(y, x.shape)


# ---------------------------------------------------------------------------------------------------------- check


def leaf(*shape, low=-1.0, high=1.0):
    return torch.empty(shape).uniform_(low, high).requires_grad_()


def report(title, scan, reference, inputs):
    """Relative errors of the result and of the gradients of all inputs, by norm; returns the largest."""
    results = []
    for function in (scan, reference):
        torch.manual_seed(1)
        y = function(*inputs.values())
        results.append((y, *torch.autograd.grad(y, inputs.values(), torch.randn(y.shape))))
    names = ["y"] + [f"gradient of {name}" for name in inputs]
    errors = [((a - b).norm() / b.norm()).item() for a, b in zip(*results)]
    for name, error in zip(names, errors):
        print(f"{title}, {name}: {error:.1e}")
    return max(errors)


def check_rows(plan, channels, length):
    import colormamba_torch as cm

    inputs = {name: leaf(2, 4 * channels, length) for name in ("u", "delta")}
    inputs["A"] = leaf(4 * channels, cm.STATES, low=-16, high=-0.5)
    inputs |= {name: leaf(2, 4, cm.STATES, length) for name in ("B", "C")}
    inputs |= {"D": leaf(4 * channels), "delta_bias": leaf(4 * channels, low=-7, high=-2)}
    scan = lambda *inputs: selective_scan(*inputs, plan)
    return report(f"rows, {plan}", scan, cm.selective_scan_reference, inputs)


def check_map(plan, channels, height, width):
    """Against the model's own, whose scan is the plain one then."""
    import colormamba_torch as cm

    cm.selective_scan = cm.selective_scan_reference
    model = cm.SS2D(channels // 2)
    names = "x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds"
    inputs = {"x": leaf(2, height, width, channels), **{name: getattr(model, name) for name in names}}

    def scan(x, x_proj, *parameters):
        return four_direction_scan(x, x @ x_proj.flatten(0, 1).T, *parameters, plan)

    def reference(x, *_):
        return model.four_scans(x.permute(0, 3, 1, 2)).transpose(1, 2).reshape(x.shape)

    return report(f"map, {plan}", scan, reference, inputs)


def check():
    """Small where Triton interprets; on a GPU also by the plans that are chosen there."""
    torch.manual_seed(0)
    if triton.knobs.runtime.interpret:
        worst = [check_rows(Plan(8, 8, 1), 8, 20), check_rows(Plan(8, 4, 3), 16, 20), check_map(Plan(8, 4, 2), 16, 4, 5)]
    else:
        torch.set_default_device("cuda")
        worst = [check_rows(plan, 64, 300) for plan in (None, *plans(64))] + [check_map(None, 64, 14, 23)]
    print(f"worst: {max(worst):.1e}, allowed: 1e-5")
    return max(worst) <= 1e-5


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        sys.exit(__doc__)
    sys.exit(not check())
