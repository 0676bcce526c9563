// Rows of a matrix: softmax, layer norm, sums over columns, transposes. All are bound by the bytes of the operands that they
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

// Sums over columns of x · grad, with x normalised first where there are statistics; and of grad, unless `sums` is null. A
// thread adds up one column of some rows; the partial sums (chunks, c) are for the host to add.
template <typename T>
struct ColumnSums {
    const T* x;
    const T* grad;
    const Wide<T>* stats;
    Wide<T>* products;
    Wide<T>* sums;
    unsigned rows;
    unsigned c;
    unsigned rows_per_chunk;
};

template <typename T>
__device__ void column_sums(const ColumnSums<T>& a) {
    using W = Wide<T>;
    const unsigned column = blockIdx.x * blockDim.x + threadIdx.x, chunk = blockIdx.y;
    if (column >= a.c) return;
    const size_t first = size_t(chunk) * a.rows_per_chunk;
    const size_t last = min(first + a.rows_per_chunk, size_t(a.rows));
    W products = 0, sums = 0;
    for (size_t row = first; row < last; ++row) {
        const W g = wide(a.grad[row * a.c + column]);
        W x = wide(a.x[row * a.c + column]);
        if (a.stats) x = (x - a.stats[2 * row]) * a.stats[2 * row + 1];
        products += x * g;
        sums += g;
    }
    a.products[size_t(chunk) * a.c + column] = products;
    if (a.sums) a.sums[size_t(chunk) * a.c + column] = sums;
}
EXPORT_INDEPENDENT(column_sums, ColumnSums, 128)

// Every (rows, columns) matrix transposed, in square tiles; blocks over tiles, row by row, and matrices.
template <typename T>
struct Transpose {
    const T* x;
    T* y;
    unsigned rows;
    unsigned columns;
};

constexpr unsigned TILE = 32;

template <typename T>
__device__ void transpose(const Transpose<T>& a) {
    // One column more, so that a column's elements lie in different banks.
    __shared__ T tile[TILE][TILE + 1];
    const size_t matrix = size_t(blockIdx.y) * a.rows * a.columns;
    const unsigned across = (a.columns + TILE - 1) / TILE, x = threadIdx.x % TILE;
    const unsigned row = blockIdx.x / across * TILE, column = blockIdx.x % across * TILE;
    const unsigned step = blockDim.x / TILE;
    for (unsigned y = threadIdx.x / TILE; y < TILE; y += step)
        if (row + y < a.rows && column + x < a.columns)
            tile[y][x] = a.x[matrix + size_t(row + y) * a.columns + column + x];
    __syncthreads();
    for (unsigned y = threadIdx.x / TILE; y < TILE; y += step)
        if (column + y < a.columns && row + x < a.rows)
            a.y[matrix + size_t(column + y) * a.rows + row + x] = tile[x][y];
}
EXPORT(transpose, Transpose, 256)

KERNELS(rows)
