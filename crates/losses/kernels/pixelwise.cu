// Functions of single pixels, whose three channels are planes: conversions of colours and distances between them, in double.
// A conversion reads 12 bytes an f32 pixel and writes 12; a distance reads 12 and 24 of the target, which is in double; their
// gradients move 12 more. The roots and angles of CIELAB and CIEDE2000 in double take longer than the bytes.
#include "sums.cuh"

// A number with its derivatives by S numbers, 0 or 3. Where a function has no derivative, or an infinite one, that here is 0.
template <unsigned S>
struct Number {
    double value;
    double by[S ? S : 1];
};

template <unsigned S>
__device__ __forceinline__ Number<S> constant(double value) {
    Number<S> out;
    out.value = value;
#pragma unroll
    for (int i = 0; i < int(S); ++i) out.by[i] = 0;
    return out;
}

// f(x), given f and f' there.
template <unsigned S>
__device__ __forceinline__ Number<S> chain(const Number<S>& x, double value, double slope) {
    Number<S> out;
    out.value = value;
#pragma unroll
    for (int i = 0; i < int(S); ++i) out.by[i] = slope * x.by[i];
    return out;
}

// f(x, y), given f and its two derivatives there.
template <unsigned S>
__device__ __forceinline__ Number<S> chain(
    const Number<S>& x, const Number<S>& y, double value, double by_x, double by_y) {
    Number<S> out;
    out.value = value;
#pragma unroll
    for (int i = 0; i < int(S); ++i) out.by[i] = by_x * x.by[i] + by_y * y.by[i];
    return out;
}

#define OPERATOR template <unsigned S> __device__ __forceinline__ Number<S>
OPERATOR operator+(const Number<S>& x, const Number<S>& y) { return chain(x, y, x.value + y.value, 1, 1); }
OPERATOR operator-(const Number<S>& x, const Number<S>& y) { return chain(x, y, x.value - y.value, 1, -1); }
// Rounded, so that differences of equal products are 0.
OPERATOR operator*(const Number<S>& x, const Number<S>& y) {
    return chain(x, y, product(x.value, y.value), y.value, x.value);
}
OPERATOR operator/(const Number<S>& x, const Number<S>& y) {
    const double quotient = x.value / y.value;
    return chain(x, y, quotient, 1 / y.value, -quotient / y.value);
}
OPERATOR operator-(const Number<S>& x) { return chain(x, -x.value, -1); }
OPERATOR operator+(const Number<S>& x, double y) { return chain(x, x.value + y, 1); }
OPERATOR operator-(const Number<S>& x, double y) { return chain(x, x.value - y, 1); }
OPERATOR operator*(const Number<S>& x, double y) { return chain(x, product(x.value, y), y); }
OPERATOR operator/(const Number<S>& x, double y) { return chain(x, x.value / y, 1 / y); }

OPERATOR root(const Number<S>& x) {
    const double value = sqrt(x.value);
    return chain(x, value, value > 0 ? 0.5 / value : 0);
}
OPERATOR cube_root(const Number<S>& x) {
    const double value = cbrt(x.value);
    return chain(x, value, value != 0 ? 1 / (3 * value * value) : 0);
}
OPERATOR power(const Number<S>& x, double exponent) {
    const double value = pow(x.value, exponent);
    return chain(x, value, x.value > 0 ? exponent * value / x.value : 0);
}
OPERATOR seventh(const Number<S>& x) {
    const double cube = x.value * x.value * x.value, sixth = cube * cube;
    return chain(x, sixth * x.value, 7 * sixth);
}
OPERATOR exponential(const Number<S>& x) {
    const double value = exp(x.value);
    return chain(x, value, value);
}
// The angle of the point (x, y), with derivative 0 at the origin.
OPERATOR angle(const Number<S>& y, const Number<S>& x) {
    const double square = x.value * x.value + y.value * y.value, scale = square > 0 ? 1 / square : 0;
    return chain(y, x, atan2(y.value, x.value), x.value * scale, -y.value * scale);
}
OPERATOR positive(const Number<S>& x) { return x.value < 0 ? constant<S>(0) : x; }
#undef OPERATOR

template <unsigned S>
struct Colour {
    Number<S> r, g, b;
};

// A pixel whose channels each have derivative 1 by themselves.
template <unsigned S>
__device__ __forceinline__ Colour<S> pixel(double r, double g, double b) {
    Colour<S> out{constant<S>(r), constant<S>(g), constant<S>(b)};
    if (S == 3) {
        out.r.by[0] = 1;
        out.g.by[S ? 1 : 0] = 1;
        out.b.by[S ? 2 : 0] = 1;
    }
    return out;
}

// From linear RGB to XYZ divided by that of the white point, row by row.
struct Rows {
    double of[9];
};

// The inverse of sRGB's curve.
template <unsigned S>
__device__ __forceinline__ Number<S> linear(const Number<S>& x) {
    return x.value <= 0.04045 ? x / 12.92 : power((x + 0.055) / 1.055, 2.4);
}

// Lab's cube root with its straight piece; the constants are those of colormamba_metrics::colour.
template <unsigned S>
__device__ __forceinline__ Number<S> compressed(const Number<S>& x) {
    return x.value > 0.008856 ? cube_root(x) : x * 7.787 + 16.0 / 116.0;
}

// sRGB to CIELAB under D65.
template <unsigned S>
__device__ __forceinline__ Colour<S> to_lab(const Colour<S>& p, const Rows& rows) {
    const Number<S> r = linear(p.r), g = linear(p.g), b = linear(p.b);
    const Number<S> x = compressed(r * rows.of[0] + g * rows.of[1] + b * rows.of[2]);
    const Number<S> y = compressed(r * rows.of[3] + g * rows.of[4] + b * rows.of[5]);
    const Number<S> z = compressed(r * rows.of[6] + g * rows.of[7] + b * rows.of[8]);
    return {y * 116 - 16, (x - y) * 500, (y - z) * 200};
}

// Below this a maximum is black and a difference of channels grey.
constexpr double NONE = 1e-6;

// RGB to HSV, all in [0, 1]; negative values are taken for 0, hue and saturation that are not defined are 0.
template <unsigned S>
__device__ __forceinline__ Colour<S> to_hsv(const Colour<S>& p) {
    const Number<S> r = positive(p.r), g = positive(p.g), b = positive(p.b);
    const bool redder = r.value > g.value;
    const Number<S> larger = redder ? r : g, smaller = redder ? g : r;
    const Number<S> value = b.value > larger.value ? b : larger, least = b.value < smaller.value ? b : smaller;
    const Number<S> chroma = value - least;
    if (value.value < NONE || chroma.value < NONE) return {constant<S>(0), constant<S>(0), value};
    Number<S> sixth;
    if (value.value == r.value)
        sixth = (g - b) / chroma + (g.value < b.value ? 6.0 : 0.0);
    else if (value.value == g.value)
        sixth = (b - r) / chroma + 2;
    else
        sixth = (r - g) / chroma + 4;
    return {sixth / 6, chroma / value, value};
}

enum Map : unsigned { HSV, LAB, UNIT_LAB };

template <unsigned S>
__device__ __forceinline__ Colour<S> mapped(unsigned map, const Colour<S>& p, const Rows& rows) {
    if (map == HSV) return to_hsv(p);
    const Colour<S> lab = to_lab(p, rows);
    // Each channel from its 8-bit range to [0, 1].
    if (map == UNIT_LAB) return {lab.r / 100, (lab.g + 128) / 255, (lab.b + 128) / 255};
    return lab;
}

template <unsigned S>
__device__ __forceinline__ Number<S> length(const Colour<S>& p) {
    return root(p.r * p.r + p.g * p.g + p.b * p.b);
}

// |p||t| − p·t.
template <unsigned S>
__device__ __forceinline__ Number<S> gap(const Colour<S>& p, const Colour<S>& t) {
    const Number<S> lengths = length(p) * length(t), dot = p.r * t.r + p.g * t.g + p.b * t.b;
    if (dot.value <= 0) return lengths - dot;
    // Of nearly parallel vectors the difference has no digits; |p|²|t|² − (p·t)² = |p × t|² has.
    const Number<S> a = p.g * t.b - p.b * t.g, b = p.b * t.r - p.r * t.b, c = p.r * t.g - p.g * t.r;
    return (a * a + b * b + c * c) / (lengths + dot);
}

// The cube of colours seen along the diagonal of the greys.
template <unsigned S>
__device__ __forceinline__ Colour<S> chromatic(const Colour<S>& p) {
    return {p.r - (p.g + p.b) * 0.5, (p.g - p.b) * 0.86602540378443864676, constant<S>(0)};
}

template <unsigned S>
__device__ __forceinline__ Number<S> chroma(const Number<S>& a, const Number<S>& b) {
    return root(a * a + b * b);
}

// √(C⁷ / (C⁷ + 25⁷)).
template <unsigned S>
__device__ __forceinline__ Number<S> saturation(const Number<S>& chroma) {
    const Number<S> power = seventh(chroma);
    return root(power / (power + 6103515625.0));
}

constexpr double PI = 3.14159265358979323846;

// The mean of two hue angles on the shorter arc, in [0, 2π); of a grey and a colour that of the colour.
template <unsigned S>
__device__ __forceinline__ Number<S> mean_hue(Number<S> h1, Number<S> h2, bool both) {
    if (h1.value < 0) h1 = h1 + 2 * PI;
    if (h2.value < 0) h2 = h2 + 2 * PI;
    const Number<S> sum = h1 + h2;
    if (!both) return sum;
    if (fabs(h1.value - h2.value) <= PI) return sum * 0.5;
    return sum.value < 2 * PI ? sum * 0.5 + PI : sum * 0.5 - PI;
}

// T.
template <unsigned S>
__device__ __forceinline__ Number<S> hue_weight(const Number<S>& hue) {
    const double sine = sin(hue.value), cosine = cos(hue.value);
    const Number<S> s = chain(hue, sine, cosine), c = chain(hue, cosine, -sine);
    const Number<S> s2 = s * c * 2, c2 = c * c - s * s, s3 = s2 * c + c2 * s, c3 = c2 * c - s2 * s;
    const Number<S> s4 = s2 * c2 * 2, c4 = c2 * c2 - s2 * s2;
    // cos(kh − x) = cos kh cos x + sin kh sin x, of 30, -6 and 63 degrees.
    const Number<S> once = c * 0.86602540378443864676 + s * 0.5;
    const Number<S> thrice = c3 * 0.99452189536827333692 + s3 * -0.10452846326765347140;
    const Number<S> often = c4 * 0.45399049973954679156 + s4 * 0.89100652418836786236;
    return -once * 0.17 + c2 * 0.24 + thrice * 0.32 - often * 0.20 + 1;
}

// R_T.
template <unsigned S>
__device__ __forceinline__ Number<S> rotation(const Number<S>& hue, const Number<S>& chroma) {
    const Number<S> from_blue = (hue - 275 * PI / 180) / (25 * PI / 180);
    const Number<S> turn = exponential(-(from_blue * from_blue)) * (60 * PI / 180);
    return -chain(turn, sin(turn.value), cos(turn.value)) * saturation(chroma) * 2;
}

// ΔE00² of two colours in Lab.
template <unsigned S>
__device__ __forceinline__ Number<S> squared_difference(const Colour<S>& p, const Colour<S>& t) {
    const Number<S>&l1 = p.r, &b1 = p.b, &l2 = t.r, &b2 = t.b;
    const Number<S> mean_chroma = (chroma(p.g, b1) + chroma(t.g, b2)) * 0.5;
    const Number<S> stretch = -saturation(mean_chroma) * 0.5 + 1.5;
    const Number<S> a1 = p.g * stretch, a2 = t.g * stretch, c1 = chroma(a1, b1), c2 = chroma(a2, b2);

    // ΔH' = 2 √(C1' C2') sin(Δh'/2) without angles, which grey has none of, and its square, which is smooth at grey.
    const Number<S> dot = a1 * a2 + b1 * b2, cross = a1 * b2 - a2 * b1;
    Number<S> dh, dh2;
    if (dot.value > 0) {
        dh = cross * 1.41421356237309504880 / root(c1 * c2 + dot);
        dh2 = dh * dh;
    } else {
        dh2 = (c1 * c2 - dot) * 2;
        dh = cross.value < 0 ? -root(dh2) : root(dh2);
    }
    const Number<S> dl = l2 - l1, dc = c2 - c1;

    const Number<S> hue = mean_hue(angle(b1, a1), angle(b2, a2), c1.value * c2.value > 0);
    const Number<S> c = (c1 + c2) * 0.5, l = (l1 + l2) * 0.5 - 50;
    const Number<S> s_l = l * l * 0.015 / root(l * l + 20) + 1, s_c = c * 0.045 + 1;
    const Number<S> s_h = c * hue_weight(hue) * 0.015 + 1;
    const Number<S> by_l = dl / s_l, by_c = dc / s_c, by_h = dh / s_h;
    return by_l * by_l + by_c * by_c + dh2 / (s_h * s_h) + rotation(hue, c) * by_c * by_h;
}

enum Distance : unsigned { COSINE, HUE, CIEDE2000 };

template <unsigned S>
__device__ __forceinline__ Number<S> cosine_distance(const Colour<S>& p, const Colour<S>& t) {
    const Number<S> lengths = length(p) * length(t);
    // Of black there is no angle, and no direction in which it would become better.
    return lengths.value == 0 ? constant<S>(0) : gap(p, t) / (lengths + 1e-8);
}

// √(x + ε²) − ε of ΔE00², without the loss of digits; t is in Lab.
template <unsigned S>
__device__ __forceinline__ Number<S> ciede2000(const Colour<S>& p, const Colour<S>& t, const Rows& rows) {
    constexpr double EPS = 1e-3;
    const Number<S> square = squared_difference(to_lab(p, rows), t);
    return square / (root(square + EPS * EPS) + EPS);
}

template <unsigned S>
__device__ __forceinline__ Number<S> distance(
    unsigned kind, const Colour<S>& p, const Colour<S>& t, const Rows& rows) {
    if (kind == COSINE) return cosine_distance(p, t);
    if (kind == HUE) return gap(chromatic(p), chromatic(t)) * 0.5;
    return ciede2000(p, t, rows);
}

// A pixel of planes, and one whose channels have no derivatives.
template <unsigned S, typename T>
__device__ __forceinline__ Colour<S> load(const T* x, size_t at, unsigned plane) {
    return pixel<S>(wide(x[at]), wide(x[at + plane]), wide(x[at + 2 * size_t(plane)]));
}
template <unsigned S>
__device__ __forceinline__ Colour<S> load_constant(const double* x, size_t at, unsigned plane) {
    return {constant<S>(x[at]), constant<S>(x[at + plane]), constant<S>(x[at + 2 * size_t(plane)])};
}

// Blocks over chunks of an image along x, and over images along y.
template <typename T>
struct Sums {
    const T* p;
    const double* t;
    double* partial;
    unsigned plane;
    unsigned chunk;
    unsigned kind;
    Rows rows;
};

template <typename T>
__device__ void pixel_sums(const Sums<T>& a) {
    __shared__ double scratch[WARP + 1];
    const size_t start = size_t(blockIdx.y) * 3 * a.plane;
    const size_t first = size_t(blockIdx.x) * a.chunk, last = min(first + a.chunk, size_t(a.plane));
    double sum = 0;
    for (size_t i = first + threadIdx.x; i < last; i += blockDim.x) {
        const Colour<0> p = load<0>(a.p, start + i, a.plane), t = load_constant<0>(a.t, start + i, a.plane);
        sum += distance(a.kind, p, t, a.rows).value;
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) a.partial[size_t(blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}
EXPORT(pixel_sums, Sums, 256)

template <typename T>
struct Gradient {
    const T* p;
    const double* t;
    // By the mean over the `pixels`.
    const double* grad;
    T* dp;
    unsigned pixels;
    unsigned plane;
    unsigned kind;
    Rows rows;
};

template <typename T>
__device__ __forceinline__ void store(T* x, size_t at, unsigned plane, double r, double g, double b) {
    x[at] = narrow<T>(Wide<T>(r));
    x[at + plane] = narrow<T>(Wide<T>(g));
    x[at + 2 * size_t(plane)] = narrow<T>(Wide<T>(b));
}

template <typename T>
__device__ void pixel_gradient(const Gradient<T>& a) {
    const double weight = *a.grad / a.pixels;
    for (size_t i = thread_index(); i < a.pixels; i += thread_count()) {
        const size_t at = size_t(unsigned(i) / a.plane) * 3 * a.plane + unsigned(i) % a.plane;
        const Colour<3> p = load<3>(a.p, at, a.plane), t = load_constant<3>(a.t, at, a.plane);
        const Number<3> d = distance(a.kind, p, t, a.rows);
        store(a.dp, at, a.plane, weight * d.by[0], weight * d.by[1], weight * d.by[2]);
    }
}
EXPORT_INDEPENDENT(pixel_gradient, Gradient, 256)

template <typename T>
struct Convert {
    const T* x;
    T* y;
    unsigned pixels;
    unsigned plane;
    unsigned kind;
    Rows rows;
};

template <typename T>
__device__ void pixel_map(const Convert<T>& a) {
    for (size_t i = thread_index(); i < a.pixels; i += thread_count()) {
        const size_t at = size_t(unsigned(i) / a.plane) * 3 * a.plane + unsigned(i) % a.plane;
        const Colour<0> y = mapped(a.kind, load<0>(a.x, at, a.plane), a.rows);
        store(a.y, at, a.plane, y.r.value, y.g.value, y.b.value);
    }
}
EXPORT_INDEPENDENT(pixel_map, Convert, 256)

template <typename T>
struct ConvertGradient {
    const T* x;
    const T* grad;
    T* dx;
    unsigned pixels;
    unsigned plane;
    unsigned kind;
    Rows rows;
};

template <typename T>
__device__ void pixel_map_gradient(const ConvertGradient<T>& a) {
    for (size_t i = thread_index(); i < a.pixels; i += thread_count()) {
        const size_t at = size_t(unsigned(i) / a.plane) * 3 * a.plane + unsigned(i) % a.plane;
        const Colour<3> y = mapped(a.kind, load<3>(a.x, at, a.plane), a.rows);
        const Colour<0> grad = load<0>(a.grad, at, a.plane);
        double by[3];
#pragma unroll
        for (unsigned k = 0; k < 3; ++k)
            by[k] = grad.r.value * y.r.by[k] + grad.g.value * y.g.by[k] + grad.b.value * y.b.by[k];
        store(a.dx, at, a.plane, by[0], by[1], by[2]);
    }
}
EXPORT_INDEPENDENT(pixel_map_gradient, ConvertGradient, 256)

KERNELS(pixelwise)
