// Rows of a matrix: softmax, layer norm, transposes. All are bound by the bytes of the operands that they
// read and write; what is read twice comes from the caches.
#include "kernel.cuh"

// One block a row: for rows of any length.
template <typename T>
struct Softmax {
    const T* x;
    T* y;
    unsigned row;
};

template <typename T>
__device__ void softmax(const Softmax<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const T* x = a.x + size_t(blockIdx.x) * a.row;
    T* y = a.y + size_t(blockIdx.x) * a.row;
    W largest = wide(x[0]);
    for (unsigned i = threadIdx.x; i < a.row; i += blockDim.x) {
        const W value = wide(x[i]);
        largest = value > largest ? value : largest;
    }
    largest = block_max(largest, scratch);
    W sum = 0;
    for (unsigned i = threadIdx.x; i < a.row; i += blockDim.x) sum += exp(wide(x[i]) - largest);
    const W scale = W(1) / block_sum(sum, scratch);
    for (unsigned i = threadIdx.x; i < a.row; i += blockDim.x) y[i] = narrow<T>(exp(wide(x[i]) - largest) * scale);
}
EXPORT(softmax, Softmax, 1024)

template <typename T>
struct SoftmaxGradient {
    const T* y;
    const T* grad;
    T* dx;
    unsigned row;
};

template <typename T>
__device__ void softmax_gradient(const SoftmaxGradient<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const size_t start = size_t(blockIdx.x) * a.row;
    W dot = 0;
    for (unsigned i = threadIdx.x; i < a.row; i += blockDim.x) dot += wide(a.y[start + i]) * wide(a.grad[start + i]);
    dot = block_sum(dot, scratch);
    for (unsigned i = threadIdx.x; i < a.row; i += blockDim.x)
        a.dx[start + i] = narrow<T>(wide(a.y[start + i]) * (wide(a.grad[start + i]) - dot));
}
EXPORT(softmax_gradient, SoftmaxGradient, 1024)

// One warp a row.
template <typename T>
struct LayerNorm {
    const T* x;
    const Wide<T>* weight;
    const Wide<T>* bias;
    T* y;
    // Mean and 1/std of each row.
    Wide<T>* stats;
    unsigned rows;
    unsigned c;
    double eps;
};

template <typename T>
__device__ void layer_norm(const LayerNorm<T>& a) {
    using W = Wide<T>;
    const unsigned lane = threadIdx.x % WARP;
    const size_t row = thread_index() / WARP;
    if (row >= a.rows) return;
    const T* x = a.x + row * a.c;
    // Differences from the first value, so that a large mean cancels no digits.
    const W first = wide(x[0]);
    W sum = 0, squares = 0;
    for (unsigned i = lane; i < a.c; i += WARP) sum += wide(x[i]) - first;
    const W mean = first + warp_sum(sum) / W(a.c);
    for (unsigned i = lane; i < a.c; i += WARP) {
        const W distance = wide(x[i]) - mean;
        squares += distance * distance;
    }
    const W rstd = W(1) / sqrt(warp_sum(squares) / W(a.c) + W(a.eps));
    for (unsigned i = lane; i < a.c; i += WARP)
        a.y[row * a.c + i] = narrow<T>((wide(x[i]) - mean) * rstd * a.weight[i] + a.bias[i]);
    if (lane == 0) {
        a.stats[2 * row] = mean;
        a.stats[2 * row + 1] = rstd;
    }
}
EXPORT(layer_norm, LayerNorm, 256)

template <typename T>
struct LayerNormGradient {
    const T* x;
    const Wide<T>* weight;
    const Wide<T>* stats;
    const T* grad;
    T* dx;
    unsigned rows;
    unsigned c;
};

template <typename T>
__device__ void layer_norm_gradient(const LayerNormGradient<T>& a) {
    using W = Wide<T>;
    const unsigned lane = threadIdx.x % WARP;
    const size_t row = thread_index() / WARP;
    if (row >= a.rows) return;
    const T* x = a.x + row * a.c;
    const T* grad = a.grad + row * a.c;
    const W mean = a.stats[2 * row], rstd = a.stats[2 * row + 1];
    W sum = 0, dot = 0;
    for (unsigned i = lane; i < a.c; i += WARP) {
        const W g = wide(grad[i]) * a.weight[i];
        sum += g;
        dot += g * (wide(x[i]) - mean) * rstd;
    }
    sum = warp_sum(sum) / W(a.c);
    dot = warp_sum(dot) / W(a.c);
    for (unsigned i = lane; i < a.c; i += WARP) {
        const W g = wide(grad[i]) * a.weight[i];
        a.dx[row * a.c + i] = narrow<T>(rstd * (g - sum - (wide(x[i]) - mean) * rstd * dot));
    }
}
EXPORT(layer_norm_gradient, LayerNormGradient, 256)

template <typename T>
struct Transpose {
    const T* x;
    // Added to the result, or null.
    const T* addend;
    T* y;
    unsigned planes;
    unsigned height;
    unsigned width;
    // Of the result, where the first plane goes.
    unsigned first;
};

// (planes, height, width) to (planes, width, height). Bytes: read once, written once.
template <typename T>
__device__ void transpose(const Transpose<T>& a) {
    // One column more, so that columns lie in different banks.
    __shared__ T tile[WARP][WARP + 1];
    const unsigned across = (a.width + WARP - 1) / WARP;
    const unsigned left = blockIdx.x % across * WARP, top = blockIdx.x / across * WARP;
    for (unsigned plane = blockIdx.y; plane < a.planes; plane += gridDim.y) {
        const T* x = a.x + size_t(plane) * a.height * a.width;
        for (unsigned i = threadIdx.x; i < WARP * WARP; i += blockDim.x) {
            const unsigned row = top + i / WARP, column = left + i % WARP;
            if (row < a.height && column < a.width) tile[i / WARP][i % WARP] = x[size_t(row) * a.width + column];
        }
        __syncthreads();
        for (unsigned i = threadIdx.x; i < WARP * WARP; i += blockDim.x) {
            const unsigned row = left + i / WARP, column = top + i % WARP;
            if (row >= a.width || column >= a.height) continue;
            const size_t at = size_t(row) * a.height + column;
            T value = tile[i % WARP][i / WARP];
            if (a.addend) {
                const T other = a.addend[size_t(plane) * a.height * a.width + at];
                value = narrow<T>(wide(value) + wide(other));
            }
            a.y[size_t(a.first + plane) * a.height * a.width + at] = value;
        }
        __syncthreads();
    }
}
EXPORT(transpose, Transpose, 256)

KERNELS(rows)
