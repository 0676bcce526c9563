// Depthwise convolution of images (batch, channels, height, width), with zeros around them: `above` rows and `left`
// columns before each, after it what windows need.
#include "kernel.cuh"
#include "activation.cuh"

template <typename T>
struct DepthwiseImage {
    const T* x;
    // (channels, side, side).
    const Wide<T>* w;
    const Wide<T>* bias;
    T* y;
    unsigned n;
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
    Ramp ramp;
};

// One pixel of the result, of a plane, under a kernel whose side the compiler knows if SIDE is not 0.
template <unsigned SIDE, typename T>
__device__ __forceinline__ Wide<T> window_sum(
    const DepthwiseImage<T>& a, const T* plane, const Wide<T>* w, unsigned pixel
) {
    const unsigned side = SIDE ? SIDE : a.side;
    // Wraps around above and left of the image, where it is larger than any size.
    const unsigned top = pixel / a.columns * a.stride - a.above, start = pixel % a.columns * a.stride - a.left;
    Wide<T> sum = 0;
#pragma unroll
    for (unsigned dy = 0; dy < side; ++dy) {
        const unsigned row = top + dy;
        if (row >= a.height) continue;
#pragma unroll
        for (unsigned dx = 0; dx < side; ++dx) {
            const unsigned column = start + dx;
            if (column < a.width) sum += wide(plane[size_t(row) * a.width + column]) * w[dy * side + dx];
        }
    }
    return sum;
}

// Bytes: the input is read once from memory (for each tap from the caches), the result written once, which bounds it.
template <typename T>
__device__ void depthwise_image(const DepthwiseImage<T>& a) {
    const unsigned area = a.rows * a.columns;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const size_t plane = i / area;
        const unsigned pixel = unsigned(i % area), channel = unsigned(plane % a.channels);
        const T* x = a.x + plane * a.height * a.width;
        const Wide<T>* w = a.w + size_t(channel) * a.side * a.side;
        Wide<T> sum;
        switch (a.side) {
            case 3: sum = window_sum<3>(a, x, w, pixel); break;
            case 5: sum = window_sum<5>(a, x, w, pixel); break;
            default: sum = window_sum<0>(a, x, w, pixel);
        }
        if (a.bias) sum += a.bias[channel];
        a.y[i] = narrow<T>(activated(sum, a.ramp));
    }
}
EXPORT_INDEPENDENT(depthwise_image, DepthwiseImage, 256)

template <typename T>
struct DepthwiseImageGradient {
    const T* grad;
    const Wide<T>* w;
    T* dx;
    unsigned n;
    unsigned channels;
    unsigned height;
    unsigned width;
    unsigned rows;
    unsigned columns;
    unsigned side;
    unsigned stride;
    unsigned above;
    unsigned left;
};

// The adjoint: each pixel of the input gathers from the windows that hold it. Bytes: the gradient read once from
// memory, that of the input written once.
template <typename T>
__device__ void depthwise_image_gradient(const DepthwiseImageGradient<T>& a) {
    const unsigned area = a.height * a.width;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const size_t plane = i / area;
        const unsigned y = unsigned(i % area) / a.width + a.above;
        const unsigned x = unsigned(i % area) % a.width + a.left;
        const T* grad = a.grad + plane * a.rows * a.columns;
        const Wide<T>* w = a.w + plane % a.channels * a.side * a.side;
        Wide<T> sum = 0;
        for (unsigned dy = y % a.stride; dy < a.side && dy <= y; dy += a.stride) {
            const unsigned row = (y - dy) / a.stride;
            if (row >= a.rows) continue;
            for (unsigned dx = x % a.stride; dx < a.side && dx <= x; dx += a.stride) {
                const unsigned column = (x - dx) / a.stride;
                if (column < a.columns) sum += wide(grad[size_t(row) * a.columns + column]) * w[dy * a.side + dx];
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
    unsigned channels;
    unsigned height;
    unsigned width;
    unsigned rows;
    unsigned columns;
    unsigned side;
    unsigned stride;
    unsigned above;
    unsigned left;
};

// One block for a channel, a row of its kernel, and an image. Bytes: both planes are read once from memory, and from
// the caches for each other row.
template <typename T>
__device__ void depthwise_image_sums(const DepthwiseImageSums<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const size_t plane = size_t(blockIdx.z) * a.channels + blockIdx.x;
    const unsigned dy = blockIdx.y, area = a.rows * a.columns;
    const T* x = a.x + plane * a.height * a.width;
    const T* grad = a.grad + plane * area;
    for (unsigned first = 0; first < a.side; first += TAPS) {
        W sums[TAPS] = {};
        for (unsigned i = threadIdx.x; i < area; i += blockDim.x) {
            const unsigned row = i / a.columns * a.stride + dy - a.above;
            const unsigned start = i % a.columns * a.stride + first - a.left;
            if (row >= a.height) continue;
            const W g = wide(grad[i]);
#pragma unroll
            for (unsigned t = 0; t < TAPS; ++t) {
                const unsigned column = start + t;
                if (first + t < a.side && column < a.width) sums[t] += g * wide(x[size_t(row) * a.width + column]);
            }
        }
#pragma unroll
        for (unsigned t = 0; t < TAPS; ++t) {
            if (first + t >= a.side) break;
            const W sum = block_sum(sums[t], scratch);
            if (threadIdx.x == 0) a.sums[(plane * a.side + dy) * a.side + first + t] = sum;
        }
    }
}
EXPORT(depthwise_image_sums, DepthwiseImageSums, 1024)

KERNELS(depthwise_image)
