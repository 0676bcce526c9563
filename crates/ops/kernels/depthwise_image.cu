// Depthwise convolution of images (batch, channels, height, width), with zeros around them: `above` rows and `left`
// columns before each, after it what windows need.
#include "kernel.cuh"
#include "activation.cuh"

// Of all three kernels.
struct Sizes {
    unsigned channels;
    // Of the input.
    unsigned height;
    unsigned width;
    // Of the result.
    unsigned rows;
    unsigned columns;
    unsigned side;
    unsigned stride;
    unsigned above;
    unsigned left;
};

template <typename T>
struct DepthwiseImage {
    const T* x;
    // (channels, side, side).
    const Wide<T>* w;
    const Wide<T>* bias;
    T* y;
    unsigned n;
    Sizes of;
    Ramp ramp;
};

// One pixel of the result, of a plane, under a kernel whose side the compiler knows if SIDE is not 0.
template <unsigned SIDE, typename T>
__device__ __forceinline__ Wide<T> window_sum(
    const DepthwiseImage<T>& a, const T* plane, const Wide<T>* w, unsigned pixel
) {
    const Sizes& of = a.of;
    const unsigned side = SIDE ? SIDE : of.side;
    // Wraps around above and left of the image, where it is larger than any size.
    const unsigned top = pixel / of.columns * of.stride - of.above;
    const unsigned start = pixel % of.columns * of.stride - of.left;
    Wide<T> sum = 0;
#pragma unroll
    for (unsigned dy = 0; dy < side; ++dy) {
        const unsigned row = top + dy;
        if (row >= of.height) continue;
#pragma unroll
        for (unsigned dx = 0; dx < side; ++dx) {
            const unsigned column = start + dx;
            if (column < of.width) sum += wide(plane[size_t(row) * of.width + column]) * w[dy * side + dx];
        }
    }
    return sum;
}

// Bytes: the input is read once from memory (for each tap from the caches), the result written once, which bounds it.
template <typename T>
__device__ void depthwise_image(const DepthwiseImage<T>& a) {
    const Sizes& of = a.of;
    const unsigned area = of.rows * of.columns;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const size_t plane = i / area;
        const unsigned pixel = unsigned(i % area), channel = unsigned(plane % of.channels);
        const T* x = a.x + plane * of.height * of.width;
        const Wide<T>* w = a.w + size_t(channel) * of.side * of.side;
        Wide<T> sum;
        switch (of.side) {
            case 3: sum = window_sum<3>(a, x, w, pixel); break;
            case 5: sum = window_sum<5>(a, x, w, pixel); break;
            default: sum = window_sum<0>(a, x, w, pixel);
        }
        a.y[i] = finished<T>(sum, a.bias, channel, a.ramp);
    }
}
EXPORT_INDEPENDENT(depthwise_image, DepthwiseImage, 256)

template <typename T>
struct DepthwiseImageGradient {
    const T* grad;
    const Wide<T>* w;
    T* dx;
    unsigned n;
    Sizes of;
};

// The adjoint: each pixel of the input gathers from the windows that hold it. Bytes: the gradient read once from
// memory, that of the input written once.
template <typename T>
__device__ void depthwise_image_gradient(const DepthwiseImageGradient<T>& a) {
    const Sizes& of = a.of;
    const unsigned area = of.height * of.width;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const size_t plane = i / area;
        const unsigned y = unsigned(i % area) / of.width + of.above;
        const unsigned x = unsigned(i % area) % of.width + of.left;
        const T* grad = a.grad + plane * of.rows * of.columns;
        const Wide<T>* w = a.w + plane % of.channels * of.side * of.side;
        Wide<T> sum = 0;
        for (unsigned dy = y % of.stride; dy < of.side && dy <= y; dy += of.stride) {
            const unsigned row = (y - dy) / of.stride;
            if (row >= of.rows) continue;
            for (unsigned dx = x % of.stride; dx < of.side && dx <= x; dx += of.stride) {
                const unsigned column = (x - dx) / of.stride;
                if (column < of.columns) sum += wide(grad[size_t(row) * of.columns + column]) * w[dy * of.side + dx];
            }
        }
        a.dx[i] = narrow<T>(sum);
    }
}
EXPORT_INDEPENDENT(depthwise_image_gradient, DepthwiseImageGradient, 256)

// Taps of a row of the kernel whose sums a thread keeps at a time.
constexpr unsigned TAPS = 8;

template <typename T>
struct DepthwiseImageSums {
    const T* x;
    const T* grad;
    // (batch, channels, side, side): the gradients of the taps from each image.
    Wide<T>* sums;
    Sizes of;
};

// One block for a channel, a row of its kernel, and an image. Bytes: both planes are read once from memory, and from
// the caches for each other row.
template <typename T>
__device__ void depthwise_image_sums(const DepthwiseImageSums<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const Sizes& of = a.of;
    const size_t plane = size_t(blockIdx.z) * of.channels + blockIdx.x;
    const unsigned dy = blockIdx.y, area = of.rows * of.columns;
    const T* x = a.x + plane * of.height * of.width;
    const T* grad = a.grad + plane * area;
    for (unsigned first = 0; first < of.side; first += TAPS) {
        W sums[TAPS] = {};
        for (unsigned i = threadIdx.x; i < area; i += blockDim.x) {
            const unsigned row = i / of.columns * of.stride + dy - of.above;
            const unsigned start = i % of.columns * of.stride + first - of.left;
            if (row >= of.height) continue;
            const W g = wide(grad[i]);
#pragma unroll
            for (unsigned t = 0; t < TAPS; ++t) {
                const unsigned column = start + t;
                if (first + t < of.side && column < of.width) sums[t] += g * wide(x[size_t(row) * of.width + column]);
            }
        }
#pragma unroll
        for (unsigned t = 0; t < TAPS; ++t) {
            if (first + t >= of.side) break;
            const W sum = block_sum(sums[t], scratch);
            if (threadIdx.x == 0) a.sums[(plane * of.side + dy) * of.side + first + t] = sum;
        }
    }
}
EXPORT(depthwise_image_sums, DepthwiseImageSums, 1024)

KERNELS(depthwise_image)
