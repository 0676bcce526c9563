// Sums over everything but the channels, for the gradients of weights and biases. The order of the additions follows from the sizes.
#include "kernel.cuh"

template <typename T>
struct RowSums {
    const T* x;
    // What x is multiplied with for the products, or null; normalised first where there are means and 1/std of its rows.
    const T* factor;
    const Wide<T>* stats;
    // Those of x and of the products that are wanted, else null: (chunks, columns); chunk i is of the rows i, i + chunks, ...
    Wide<T>* sums;
    Wide<T>* products;
    unsigned rows;
    unsigned columns;
    unsigned chunks;
};

// One thread a column and chunk; neighbours in memory are read by neighbours. Bytes: the matrices read once, 1/128 of one
// written and read again.
template <typename T>
__device__ void row_sums(const RowSums<T>& a) {
    using W = Wide<T>;
    const size_t thread = thread_index(), step = size_t(a.chunks) * a.columns;
    if (thread >= step) return;
    W sum = 0, products = 0;
    size_t i = thread;
    unsigned row = unsigned(thread / a.columns);
    // Counted beforehand, so that several are read at once.
    const unsigned count = row < a.rows ? (a.rows - row - 1) / a.chunks + 1 : 0;
#pragma unroll 8
    for (unsigned n = 0; n < count; ++n, i += step, row += a.chunks) {
        const W x = wide(a.x[i]);
        sum += x;
        if (!a.factor) continue;
        W factor = wide(a.factor[i]);
        if (a.stats) factor = (factor - a.stats[2 * size_t(row)]) * a.stats[2 * size_t(row) + 1];
        products += x * factor;
    }
    if (a.sums) a.sums[thread] = sum;
    if (a.products) a.products[thread] = products;
}
EXPORT_INDEPENDENT(row_sums, RowSums, 256)

template <typename T>
struct PlaneSums {
    const T* x;
    // (batch, chunks of the plane, channels), so that rows of them can be summed.
    Wide<T>* sums;
    unsigned channels;
    unsigned plane;
    unsigned chunk;
};

// One block a piece of a plane. Bytes: the planes read once.
template <typename T>
__device__ void plane_sums(const PlaneSums<T>& a) {
    __shared__ Wide<T> scratch[WARP + 1];
    const unsigned start = blockIdx.y * a.chunk, end = min(a.plane, start + a.chunk);
    const T* x = a.x + size_t(blockIdx.x) * a.plane;
    Wide<T> sum = 0;
#pragma unroll 4
    for (unsigned i = start + threadIdx.x; i < end; i += blockDim.x) sum += wide(x[i]);
    sum = block_sum(sum, scratch);
    const unsigned image = blockIdx.x / a.channels, channel = blockIdx.x % a.channels;
    if (threadIdx.x == 0) a.sums[(size_t(image) * gridDim.y + blockIdx.y) * a.channels + channel] = sum;
}
EXPORT(plane_sums, PlaneSums, 1024)

KERNELS(sums)
