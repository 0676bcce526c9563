// Functions of single elements. Each reads its operands and writes its result once, which is what it is bound by: a ReLU
// moves 8 bytes an f32 element forwards and 12 backwards.
#include "kernel.cuh"
#include "activation.cuh"

enum Function : unsigned { RELU, RAMP, GELU, SILU, SIGMOID, TANH };

template <typename W>
__device__ __forceinline__ W logistic(W x) {
    return W(1) / (W(1) + exp(-x));
}

template <typename W>
__device__ __forceinline__ W silu_slope(W x) {
    const W s = logistic(x);
    return s * (W(1) + x * (W(1) - s));
}

// The normal distribution's probability below x, and its density.
template <typename W>
__device__ __forceinline__ W normal(W x) {
    return W(0.5) * erfc(-x * W(0.70710678118654752440));
}
template <typename W>
__device__ __forceinline__ W density(W x) {
    return W(0.39894228040143267794) * exp(W(-0.5) * x * x);
}

template <typename W>
__device__ __forceinline__ W value(unsigned function, W x, const Ramp& ramp) {
    switch (function) {
        // Written so that NaN stays NaN.
        case RELU: return x < 0 ? W(0) : x;
        case RAMP: return activated(x, ramp);
        case GELU: return x * normal(x);
        case SILU: return x * logistic(x);
        case SIGMOID: return logistic(x);
        default: return tanh(x);
    }
}

// The derivative from the output where that tells it, else from the input.
template <typename W>
__device__ __forceinline__ W derivative(unsigned function, W v, const Ramp& ramp) {
    switch (function) {
        case RELU: return v > 0 ? W(1) : W(0);
        case RAMP: return through(W(1), v, ramp);
        case GELU: return normal(v) + v * density(v);
        case SILU: return silu_slope(v);
        case SIGMOID: return v * (W(1) - v);
        default: return W(1) - v * v;
    }
}

template <typename T>
struct Map {
    const T* x;
    T* y;
    unsigned n;
    unsigned function;
    Ramp ramp;
};

template <typename T>
__device__ void map(const Map<T>& a) {
    for (size_t i = thread_index(); i < a.n; i += thread_count())
        a.y[i] = narrow<T>(value<Wide<T>>(a.function, wide(a.x[i]), a.ramp));
}
EXPORT_INDEPENDENT(map, Map, 256)

template <typename T>
struct MapGradient {
    const T* kept;
    const T* grad;
    T* dx;
    unsigned n;
    unsigned function;
    Ramp ramp;
};

template <typename T>
__device__ void map_gradient(const MapGradient<T>& a) {
    for (size_t i = thread_index(); i < a.n; i += thread_count())
        a.dx[i] = narrow<T>(wide(a.grad[i]) * derivative<Wide<T>>(a.function, wide(a.kept[i]), a.ramp));
}
EXPORT_INDEPENDENT(map_gradient, MapGradient, 256)

template <typename T>
struct Zip {
    const T* a;
    const T* b;
    T* y;
    unsigned n;
};

template <typename T>
__device__ void add(const Zip<T>& z) {
    for (size_t i = thread_index(); i < z.n; i += thread_count()) z.y[i] = narrow<T>(wide(z.a[i]) + wide(z.b[i]));
}
EXPORT_INDEPENDENT(add, Zip, 256)

template <typename T>
__device__ void silu_gate(const Zip<T>& z) {
    for (size_t i = thread_index(); i < z.n; i += thread_count()) {
        const Wide<T> gate = wide(z.b[i]);
        z.y[i] = narrow<T>(wide(z.a[i]) * gate * logistic(gate));
    }
}
EXPORT_INDEPENDENT(silu_gate, Zip, 256)

template <typename T>
struct GateGradient {
    const T* grad;
    const T* x;
    const T* gate;
    T* dgate;
    unsigned n;
};

template <typename T>
__device__ void silu_gate_gradient(const GateGradient<T>& a) {
    for (size_t i = thread_index(); i < a.n; i += thread_count())
        a.dgate[i] = narrow<T>(wide(a.grad[i]) * wide(a.x[i]) * silu_slope(wide(a.gate[i])));
}
EXPORT_INDEPENDENT(silu_gate_gradient, GateGradient, 256)

// ln(x / (1 - x)) of x within [eps, 1 - eps]; NaN stays NaN.
template <typename W>
__device__ __forceinline__ W clamped_logit(W x, W eps) {
    x = x < eps ? eps : x > W(1) - eps ? W(1) - eps : x;
    return log(x / (W(1) - x));
}

// The logistic function of an offset and a gain of the near-infrared image's logit, for each of three colours.
template <typename T>
struct OffsetGain {
    const T* nir;
    // (batch, offsets and then gains, area).
    const T* coefficients;
    T* y;
    unsigned n;
    unsigned area;
    double eps;
};

template <typename T>
__device__ void offset_gain(const OffsetGain<T>& a) {
    using W = Wide<T>;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const size_t image = i / a.area / 3, pixel = i % a.area;
        const T* offset = a.coefficients + i + image * 3 * a.area;
        const W logit = clamped_logit<W>(wide(a.nir[image * a.area + pixel]), W(a.eps));
        a.y[i] = narrow<T>(logistic(wide(*offset) + wide(offset[3 * size_t(a.area)]) * logit));
    }
}
EXPORT_INDEPENDENT(offset_gain, OffsetGain, 256)

template <typename T>
struct OffsetGainGradient {
    const T* nir;
    const T* y;
    const T* grad;
    T* dcoefficients;
    unsigned n;
    unsigned area;
    double eps;
};

template <typename T>
__device__ void offset_gain_gradient(const OffsetGainGradient<T>& a) {
    using W = Wide<T>;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const size_t image = i / a.area / 3, pixel = i % a.area;
        const W y = wide(a.y[i]), doffset = wide(a.grad[i]) * y * (W(1) - y);
        T* out = a.dcoefficients + i + image * 3 * a.area;
        *out = narrow<T>(doffset);
        out[3 * size_t(a.area)] = narrow<T>(doffset * clamped_logit<W>(wide(a.nir[image * a.area + pixel]), W(a.eps)));
    }
}
EXPORT_INDEPENDENT(offset_gain_gradient, OffsetGainGradient, 256)

// x · s, plus y unless that is null, with s for each entry of the last dimension.
template <typename T>
struct ScaleAdd {
    const T* x;
    const Wide<T>* scale;
    const T* y;
    T* out;
    unsigned n;
    unsigned row;
};

template <typename T>
__device__ void scale_add(const ScaleAdd<T>& a) {
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const Wide<T> scaled = wide(a.x[i]) * a.scale[i % a.row];
        a.out[i] = narrow<T>(a.y ? scaled + wide(a.y[i]) : scaled);
    }
}
EXPORT_INDEPENDENT(scale_add, ScaleAdd, 256)

KERNELS(pointwise)
