// Depthwise 3x3 convolution of token maps (batch, height, width, channels) with one ring of zeros. Channels are adjacent, so
// neighbouring threads take neighbouring channels.
#include "kernel.cuh"

// Rows that a thread goes along at once, so that it loads two rows more than these, not three for each.
constexpr unsigned ROWS = 4;

// Calls f(row, column, window) for each pixel of a thread's rows and columns, where window[row + dy][dx] holds its neighbours.
template <typename T, typename F>
__device__ __forceinline__ void slide(
    const T* image, unsigned height, unsigned width, unsigned channels, unsigned first_row, unsigned first, unsigned end, F f
) {
    using W = Wide<T>;
    W window[ROWS + 2][3];
    // Wraps around for what is left of the image or above it, where it is larger than any size.
    const auto load = [&](unsigned column, unsigned place) {
#pragma unroll
        for (unsigned i = 0; i < ROWS + 2; ++i) {
            const unsigned row = first_row + i - 1;
            const bool is_inside = row < height && column < width;
            window[i][place] = is_inside ? wide(image[(size_t(row) * width + column) * channels]) : W(0);
        }
    };
    load(first - 1, 1);
    load(first, 2);
    for (unsigned column = first; column < end; ++column) {
#pragma unroll
        for (unsigned i = 0; i < ROWS + 2; ++i) {
            window[i][0] = window[i][1];
            window[i][1] = window[i][2];
        }
        load(column + 1, 2);
#pragma unroll
        for (unsigned row = 0; row < ROWS; ++row) f(row, column, window + row);
    }
}

// What a thread goes over: a channel, some rows, some columns.
struct Strip {
    unsigned channel;
    unsigned first_row;
    unsigned first_column;
    size_t image;
    // Counts the strips of a channel.
    size_t index;
};

__device__ __forceinline__ Strip strip_of(size_t thread, unsigned channels, unsigned height, unsigned width, unsigned run) {
    Strip strip;
    strip.channel = unsigned(thread % channels);
    strip.index = thread / channels;
    const unsigned across = (width + run - 1) / run, down = (height + ROWS - 1) / ROWS;
    strip.first_column = unsigned(strip.index % across) * run;
    strip.first_row = unsigned(strip.index / across % down) * ROWS;
    strip.image = strip.index / across / down * height * width * channels + strip.channel;
    return strip;
}

template <typename T>
struct DepthwiseConv {
    const T* x;
    // (channels, 9).
    const Wide<T>* w;
    const Wide<T>* bias;
    T* y;
    unsigned height;
    unsigned width;
    unsigned channels;
    // Threads that have work, and columns of each.
    unsigned strips;
    unsigned run;
    // Whether the kernel is turned by half, which makes the adjoint.
    unsigned flipped;
};

// Bytes: the map is read once from memory (1.5 times and the ends of runs from the caches) and written once, which bounds
// it: 18 FLOPs for 8 bytes.
template <typename T>
__device__ void depthwise_conv(const DepthwiseConv<T>& a) {
    using W = Wide<T>;
    if (thread_index() >= a.strips) return;
    const Strip strip = strip_of(thread_index(), a.channels, a.height, a.width, a.run);
    W taps[3][3];
#pragma unroll
    for (unsigned t = 0; t < 9; ++t) taps[t / 3][t % 3] = a.w[size_t(strip.channel) * 9 + (a.flipped ? 8 - t : t)];
    const W bias = a.bias ? a.bias[strip.channel] : W(0);
    T* out = a.y + strip.image;
    const unsigned end = min(a.width, strip.first_column + a.run);
    slide(a.x + strip.image, a.height, a.width, a.channels, strip.first_row, strip.first_column, end,
        [&](unsigned row, unsigned column, const W(*window)[3]) {
            if (strip.first_row + row >= a.height) return;
            W sum = bias;
#pragma unroll
            for (unsigned t = 0; t < 9; ++t) sum += window[t / 3][t % 3] * taps[t / 3][t % 3];
            out[(size_t(strip.first_row + row) * a.width + column) * a.channels] = narrow<T>(sum);
        });
}
EXPORT_INDEPENDENT(depthwise_conv, DepthwiseConv, 256)

template <typename T>
struct DepthwiseConvSums {
    const T* x;
    const T* grad;
    // (strips, 10, channels): the gradients of the taps and of the bias, each of one strip.
    Wide<T>* sums;
    unsigned height;
    unsigned width;
    unsigned channels;
    unsigned strips;
    unsigned run;
};

// Each thread's part of the gradients of weight and bias. Bytes: both maps are read once from memory, which bounds it.
template <typename T>
__device__ void depthwise_conv_sums(const DepthwiseConvSums<T>& a) {
    using W = Wide<T>;
    if (thread_index() >= a.strips) return;
    const Strip strip = strip_of(thread_index(), a.channels, a.height, a.width, a.run);
    W sums[10] = {};
    const T* grad = a.grad + strip.image;
    const unsigned end = min(a.width, strip.first_column + a.run);
    slide(a.x + strip.image, a.height, a.width, a.channels, strip.first_row, strip.first_column, end,
        [&](unsigned row, unsigned column, const W(*window)[3]) {
            if (strip.first_row + row >= a.height) return;
            const W g = wide(grad[(size_t(strip.first_row + row) * a.width + column) * a.channels]);
#pragma unroll
            for (unsigned t = 0; t < 9; ++t) sums[t] += window[t / 3][t % 3] * g;
            sums[9] += g;
        });
#pragma unroll
    for (unsigned t = 0; t < 10; ++t) a.sums[(strip.index * 10 + t) * a.channels + strip.channel] = sums[t];
}
EXPORT_INDEPENDENT(depthwise_conv_sums, DepthwiseConvSums, 256)

KERNELS(depthwise_conv)
