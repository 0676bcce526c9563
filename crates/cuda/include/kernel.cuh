// What every kernel file includes: types, reductions, and how kernels are exported.
//
// A kernel is a function template over the element type T (float, double, bf16) of one argument, a struct of pointers,
// then unsigned sizes, then doubles, which the host fills in the same order:
//
//     template <typename T> struct Scale { const T* x; T* y; unsigned n; double factor; };
//     template <typename T> __device__ void scale(const Scale<T>& a) { ... }
//     EXPORT_INDEPENDENT(scale, Scale, 256)
//     KERNELS(file_name)
//
// exports scale_f32, scale_f64 and scale_bf16 for blocks of at most 256 threads. Values are loaded by wide() and computed on
// as Wide<T>, which is float for bf16.
#pragma once

#ifdef EMULATED
#include "emulation.h"
#else
#include <cuda_bf16.h>

using bf16 = __nv_bfloat16;

// 2^x to 2 ulp, by one instruction; results below the normal numbers become 0.
__device__ __forceinline__ float exp2f_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Shared memory of the size that the launch asks for.
#define DYNAMIC_SHARED(type, name)                                            \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];   \
    type* name = reinterpret_cast<type*>(dynamic_shared_memory)

#define EXPORT_AS(exported, args, threads, ...) \
    extern "C" __global__ void __launch_bounds__(threads) exported(const args a) { __VA_ARGS__(a); }
#define EXPORT_RESIDENT_AS(exported, args, threads, blocks, ...) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) exported(const args a) { __VA_ARGS__(a); }
#define EXPORT_INDEPENDENT_AS EXPORT_AS
#define KERNELS(file)
#endif

// For threads that meet at barriers or exchange values within a warp.
#define EXPORT(function, args, threads)                                \
    EXPORT_AS(function##_f32, args<float>, threads, function<float>)   \
    EXPORT_AS(function##_f64, args<double>, threads, function<double>) \
    EXPORT_AS(function##_bf16, args<bf16>, threads, function<bf16>)
// The same, with registers for no more than `blocks` blocks at a time: the compiler's own aim, which it does not tell,
// can make it spill.
#define EXPORT_RESIDENT(function, args, threads, blocks)                                \
    EXPORT_RESIDENT_AS(function##_f32, args<float>, threads, blocks, function<float>)   \
    EXPORT_RESIDENT_AS(function##_f64, args<double>, threads, blocks, function<double>) \
    EXPORT_RESIDENT_AS(function##_bf16, args<bf16>, threads, blocks, function<bf16>)
// For threads that do neither.
#define EXPORT_INDEPENDENT(function, args, threads)                                \
    EXPORT_INDEPENDENT_AS(function##_f32, args<float>, threads, function<float>)   \
    EXPORT_INDEPENDENT_AS(function##_f64, args<double>, threads, function<double>) \
    EXPORT_INDEPENDENT_AS(function##_bf16, args<bf16>, threads, function<bf16>)

template <typename T>
struct WideOf {
    using Type = float;
};
template <>
struct WideOf<double> {
    using Type = double;
};
// What values of type T are computed as, and what statistics of them are kept as.
template <typename T>
using Wide = typename WideOf<T>::Type;

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ double wide(double x) { return x; }
__device__ __forceinline__ float wide(bf16 x) { return __bfloat162float(x); }

template <typename T>
__device__ __forceinline__ T narrow(Wide<T> x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ double narrow<double>(double x) {
    return x;
}
template <>
__device__ __forceinline__ bf16 narrow<bf16>(float x) {
    return __float2bfloat16(x);
}

// a · b, rounded before anything is added to it: equal products then differ by 0.
__device__ __forceinline__ float product(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double product(double a, double b) { return __dmul_rn(a, b); }

// This thread's index in the whole launch, and the threads of the launch, along x.
__device__ __forceinline__ size_t thread_index() { return size_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ size_t thread_count() { return size_t(gridDim.x) * blockDim.x; }

constexpr unsigned WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// The sum over the warp, in every lane; all 32 lanes must call it.
template <typename A>
__device__ __forceinline__ A warp_sum(A value) {
    for (unsigned step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

template <typename A>
__device__ __forceinline__ A warp_max(A value) {
    for (unsigned step = WARP / 2; step > 0; step /= 2) {
        const A other = __shfl_xor_sync(ALL_LANES, value, step);
        value = other > value ? other : value;
    }
    return value;
}

// What `of_warp` makes of all threads' values, in every thread, where that does not change with `neutral` among them. The block
// is of whole warps, at most 32; `scratch` holds 33 values, which may be used again after the call.
template <typename A, typename F>
__device__ __forceinline__ A of_block(A value, A neutral, A* scratch, F of_warp) {
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    value = of_warp(value);
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    if (warp == 0) {
        const A result = of_warp(lane < warps ? scratch[lane] : neutral);
        if (lane == 0) scratch[WARP] = result;
    }
    __syncthreads();
    const A result = scratch[WARP];
    __syncthreads();
    return result;
}

template <typename A>
__device__ A block_sum(A value, A* scratch) {
    return of_block(value, A(0), scratch, [](A x) { return warp_sum(x); });
}

template <typename A>
__device__ A block_max(A value, A* scratch) {
    return of_block(value, value, scratch, [](A x) { return warp_max(x); });
}

// Mean and 1/sqrt(variance + eps) of n values, in every thread of the block.
template <typename T, typename W>
__device__ void plane_moments(const T* x, unsigned n, W eps, W* scratch, W& mean, W& rstd) {
    // Differences from the first value, so that a large mean cancels no digits.
    const W first = wide(x[0]);
    W sum = 0, squares = 0;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) sum += wide(x[i]) - first;
    mean = first + block_sum(sum, scratch) / W(n);
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        const W distance = wide(x[i]) - mean;
        squares += distance * distance;
    }
    rstd = W(1) / sqrt(block_sum(squares, scratch) / W(n) + eps);
}
