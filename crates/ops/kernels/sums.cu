// Sums over everything but the channels, for the gradients of biases. The order of the additions follows from the sizes.
#include "kernel.cuh"

template <typename T>
struct RowSums {
    const T* x;
    // (chunks, columns); chunk i is of the rows i, i + chunks, ...
    Wide<T>* sums;
    unsigned rows;
    unsigned columns;
    unsigned chunks;
};

// One thread a column and chunk; neighbours in memory are read by neighbours. Bytes: the matrix read once, 1/128 of it
// written and read again.
template <typename T>
__device__ void row_sums(const RowSums<T>& a) {
    const size_t thread = thread_index(), step = size_t(a.chunks) * a.columns;
    if (thread >= step) return;
    Wide<T> sum = 0;
#pragma unroll 8
    for (size_t i = thread; i < size_t(a.rows) * a.columns; i += step) sum += wide(a.x[i]);
    a.sums[thread] = sum;
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
