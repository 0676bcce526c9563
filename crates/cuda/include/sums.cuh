// Sums of doubles in two stages: blocks write partial sums, then one block for each sum adds them up, in an order that does not
// depend on when they came.
#pragma once

#include "kernel.cuh"

// The partial sums of a result lie next to each other; one block a result. T is not looked at.
template <typename T>
struct AddUp {
    const double* partial;
    double* result;
    unsigned parts;
    // What each sum is divided by.
    double count;
};

template <typename T>
__device__ void add_up(const AddUp<T>& a) {
    __shared__ double scratch[WARP + 1];
    const double* partial = a.partial + size_t(blockIdx.x) * a.parts;
    double sum = 0;
    for (unsigned i = threadIdx.x; i < a.parts; i += blockDim.x) sum += partial[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) a.result[blockIdx.x] = sum / a.count;
}

// Warps of a block whose lanes stand for neighbouring columns and whose warps share the rows out among them.
constexpr unsigned SHARING = 8;

// The sum over the warps, in every thread: of at most SHARING values for each lane. `scratch` may be used again after the call.
template <typename A>
__device__ A sum_over_warps(A value, A (*scratch)[WARP]) {
    const unsigned lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    scratch[threadIdx.x / WARP][lane] = value;
    __syncthreads();
    A sum = 0;
    for (unsigned warp = 0; warp < warps; ++warp) sum += scratch[warp][lane];
    __syncthreads();
    return sum;
}
