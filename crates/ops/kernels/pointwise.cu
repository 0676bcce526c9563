// Functions of single elements. Each reads its operands and writes its result once, which is what it is bound by: a ReLU
// moves 8 bytes an f32 element forwards and 12 backwards.
#include "kernel.cuh"

enum Function : unsigned { RELU, LEAKY_RELU, GELU, SILU, SIGMOID, TANH };

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
__device__ __forceinline__ W value(unsigned function, W x, W slope) {
    switch (function) {
        // Written so that NaN stays NaN.
        case RELU: return x < 0 ? W(0) : x;
        case LEAKY_RELU: return x > 0 ? x : slope * x;
        case GELU: return x * normal(x);
        case SILU: return x * logistic(x);
        case SIGMOID: return logistic(x);
        default: return tanh(x);
    }
}

// The derivative from the output where that tells it, else from the input.
template <typename W>
__device__ __forceinline__ W derivative(unsigned function, W v, W slope) {
    switch (function) {
        case RELU: return v > 0 ? W(1) : W(0);
        case LEAKY_RELU: return v > 0 ? W(1) : slope;
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
    double slope;
};

template <typename T>
__device__ void map(const Map<T>& a) {
    for (size_t i = thread_index(); i < a.n; i += thread_count())
        a.y[i] = narrow<T>(value<Wide<T>>(a.function, wide(a.x[i]), a.slope));
}
EXPORT_INDEPENDENT(map, Map, 256)

template <typename T>
struct MapGradient {
    const T* kept;
    const T* grad;
    T* dx;
    unsigned n;
    unsigned function;
    double slope;
};

template <typename T>
__device__ void map_gradient(const MapGradient<T>& a) {
    for (size_t i = thread_index(); i < a.n; i += thread_count())
        a.dx[i] = narrow<T>(wide(a.grad[i]) * derivative<Wide<T>>(a.function, wide(a.kept[i]), a.slope));
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
