// Planes of images: batch norm, SPADE's norm, pooling, and linear maps of height and width. All are bound by the bytes of the
// operands that they read and write; what is read twice comes from the caches where a plane fits there.
#include "kernel.cuh"
#include "activation.cuh"

// Mean and variance of a channel over a batch; one block a channel.
template <typename T>
struct BatchMoments {
    const T* x;
    Wide<T>* mean;
    Wide<T>* variance;
    unsigned batch;
    unsigned channels;
    unsigned plane;
};

template <typename T, typename F>
__device__ __forceinline__ void over_channel(unsigned batch, unsigned channels, unsigned plane, F f) {
    for (unsigned image = 0; image < batch; ++image) {
        const size_t start = (size_t(image) * channels + blockIdx.x) * plane;
        for (unsigned i = threadIdx.x; i < plane; i += blockDim.x) f(start + i);
    }
}

template <typename T>
__device__ void batch_moments(const BatchMoments<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const W n = W(a.batch) * W(a.plane);
    // Differences from the first value, so that a large mean cancels no digits.
    const W first = wide(a.x[size_t(blockIdx.x) * a.plane]);
    W sum = 0, squares = 0;
    over_channel<T>(a.batch, a.channels, a.plane, [&](size_t i) { sum += wide(a.x[i]) - first; });
    const W mean = first + block_sum(sum, scratch) / n;
    over_channel<T>(a.batch, a.channels, a.plane, [&](size_t i) {
        const W distance = wide(a.x[i]) - mean;
        squares += distance * distance;
    });
    squares = block_sum(squares, scratch);
    if (threadIdx.x == 0) {
        a.mean[blockIdx.x] = mean;
        a.variance[blockIdx.x] = squares / n;
    }
}
EXPORT(batch_moments, BatchMoments, 1024)

template <typename T>
struct BatchNorm {
    const T* x;
    const Wide<T>* mean;
    const Wide<T>* variance;
    const Wide<T>* weight;
    const Wide<T>* bias;
    T* y;
    unsigned n;
    unsigned channels;
    unsigned plane;
    double eps;
};

template <typename T>
__device__ void batch_norm(const BatchNorm<T>& a) {
    using W = Wide<T>;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned channel = i / a.plane % a.channels;
        const W scale = a.weight[channel] / sqrt(a.variance[channel] + W(a.eps));
        a.y[i] = narrow<T>((wide(a.x[i]) - a.mean[channel]) * scale + a.bias[channel]);
    }
}
EXPORT_INDEPENDENT(batch_norm, BatchNorm, 256)

// The gradients of weight and bias; one block a channel.
template <typename T>
struct BatchNormSums {
    const T* x;
    const T* grad;
    const Wide<T>* mean;
    const Wide<T>* variance;
    Wide<T>* dweight;
    Wide<T>* dbias;
    unsigned batch;
    unsigned channels;
    unsigned plane;
    double eps;
};

template <typename T>
__device__ void batch_norm_sums(const BatchNormSums<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const W mean = a.mean[blockIdx.x], rstd = W(1) / sqrt(a.variance[blockIdx.x] + W(a.eps));
    W sum = 0, dot = 0;
    over_channel<T>(a.batch, a.channels, a.plane, [&](size_t i) {
        const W g = wide(a.grad[i]);
        sum += g;
        dot += g * (wide(a.x[i]) - mean) * rstd;
    });
    sum = block_sum(sum, scratch);
    dot = block_sum(dot, scratch);
    if (threadIdx.x == 0) {
        a.dweight[blockIdx.x] = dot;
        a.dbias[blockIdx.x] = sum;
    }
}
EXPORT(batch_norm_sums, BatchNormSums, 1024)

// The gradient of x. `count` elements of a channel moved its statistics; 0 if these were given.
template <typename T>
struct BatchNormGradient {
    const T* x;
    const T* grad;
    const Wide<T>* mean;
    const Wide<T>* variance;
    const Wide<T>* weight;
    const Wide<T>* dweight;
    const Wide<T>* dbias;
    T* dx;
    unsigned n;
    unsigned channels;
    unsigned plane;
    unsigned count;
    double eps;
};

template <typename T>
__device__ void batch_norm_gradient(const BatchNormGradient<T>& a) {
    using W = Wide<T>;
    const W share = a.count > 0 ? W(1) / W(a.count) : W(0);
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned channel = i / a.plane % a.channels;
        const W rstd = W(1) / sqrt(a.variance[channel] + W(a.eps));
        const W normalised = (wide(a.x[i]) - a.mean[channel]) * rstd;
        const W g = wide(a.grad[i]) - (a.dbias[channel] + normalised * a.dweight[channel]) * share;
        a.dx[i] = narrow<T>(rstd * a.weight[channel] * g);
    }
}
EXPORT_INDEPENDENT(batch_norm_gradient, BatchNormGradient, 256)

// The activation of n (1 + gamma) + beta, n being a plane of mean 0 and variance 1; one block a plane.
template <typename T>
struct Spade {
    const T* x;
    const T* scale_shift;
    T* y;
    // Mean and 1/std of each plane.
    Wide<T>* stats;
    unsigned channels;
    unsigned plane;
    double eps;
    Ramp ramp;
};

// Where gamma of this block's plane begins; beta follows after all channels' gammas.
__device__ __forceinline__ size_t modulation(unsigned channels, unsigned plane) {
    return (2 * size_t(blockIdx.x / channels) * channels + blockIdx.x % channels) * plane;
}

template <typename T>
__device__ void spade(const Spade<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const T* x = a.x + size_t(blockIdx.x) * a.plane;
    const T* gamma = a.scale_shift + modulation(a.channels, a.plane);
    const T* beta = gamma + size_t(a.channels) * a.plane;
    W mean, rstd;
    plane_moments(x, a.plane, W(a.eps), scratch, mean, rstd);
    for (unsigned i = threadIdx.x; i < a.plane; i += blockDim.x) {
        const W value = (wide(x[i]) - mean) * rstd * (W(1) + wide(gamma[i])) + wide(beta[i]);
        a.y[size_t(blockIdx.x) * a.plane + i] = narrow<T>(activated(value, a.ramp));
    }
    if (threadIdx.x == 0) {
        a.stats[2 * blockIdx.x] = mean;
        a.stats[2 * blockIdx.x + 1] = rstd;
    }
}
EXPORT(spade, Spade, 1024)

template <typename T>
struct SpadeGradient {
    const T* x;
    const T* scale_shift;
    const Wide<T>* stats;
    const T* grad;
    // Null if it is not wanted.
    T* dx;
    T* dscale_shift;
    unsigned channels;
    unsigned plane;
    Ramp ramp;
};

template <typename T>
__device__ void spade_gradient(const SpadeGradient<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const size_t start = size_t(blockIdx.x) * a.plane, at = modulation(a.channels, a.plane);
    const size_t shift = size_t(a.channels) * a.plane;
    const T* gamma = a.scale_shift + at;
    const T* beta = gamma + shift;
    const W mean = a.stats[2 * blockIdx.x], rstd = a.stats[2 * blockIdx.x + 1];
    const auto before_activation = [&](unsigned i, W normalised) {
        const W value = normalised * (W(1) + wide(gamma[i])) + wide(beta[i]);
        return through(W(wide(a.grad[start + i])), value, a.ramp);
    };
    W sum = 0, dot = 0;
    for (unsigned i = threadIdx.x; i < a.plane; i += blockDim.x) {
        const W normalised = (wide(a.x[start + i]) - mean) * rstd;
        const W g = before_activation(i, normalised);
        a.dscale_shift[at + i] = narrow<T>(g * normalised);
        a.dscale_shift[at + shift + i] = narrow<T>(g);
        const W scaled = g * (W(1) + wide(gamma[i]));
        sum += scaled;
        dot += scaled * normalised;
    }
    if (!a.dx) return;
    sum = block_sum(sum, scratch) / W(a.plane);
    dot = block_sum(dot, scratch) / W(a.plane);
    for (unsigned i = threadIdx.x; i < a.plane; i += blockDim.x) {
        const W normalised = (wide(a.x[start + i]) - mean) * rstd;
        const W g = before_activation(i, normalised) * (W(1) + wide(gamma[i]));
        a.dx[start + i] = narrow<T>(rstd * (g - sum - normalised * dot));
    }
}
EXPORT(spade_gradient, SpadeGradient, 1024)

// A linear map of the height and one of the width, each a sparse matrix by rows: the entries of row i stand from starts[i] to
// starts[i + 1]. `inner` elements lie side by side at each place.
template <typename T>
struct Separable {
    const T* x;
    T* y;
    const unsigned* vertical_starts;
    const unsigned* vertical_places;
    const double* vertical_weights;
    const unsigned* horizontal_starts;
    const unsigned* horizontal_places;
    const double* horizontal_weights;
    unsigned n;
    unsigned height;
    unsigned width;
    unsigned input_height;
    unsigned input_width;
    unsigned inner;
};

template <typename T>
__device__ void separable(const Separable<T>& a) {
    using W = Wide<T>;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned inner = i % a.inner, column = i / a.inner % a.width;
        const size_t line = i / a.inner / a.width;
        const unsigned row = line % a.height;
        const T* plane = a.x + line / a.height * a.input_height * a.input_width * a.inner + inner;
        // A bin of an average may have thousands of pixels, which f32 would not add up to its own precision.
        double sum = 0;
        for (unsigned v = a.vertical_starts[row]; v < a.vertical_starts[row + 1]; ++v) {
            const T* source = plane + size_t(a.vertical_places[v]) * a.input_width * a.inner;
            double across = 0;
            for (unsigned h = a.horizontal_starts[column]; h < a.horizontal_starts[column + 1]; ++h)
                across += a.horizontal_weights[h] * wide(source[size_t(a.horizontal_places[h]) * a.inner]);
            sum += a.vertical_weights[v] * across;
        }
        a.y[i] = narrow<T>(W(sum));
    }
}
EXPORT_INDEPENDENT(separable, Separable, 256)

// The first maximum of each window of `side`² pixels, `step` apart, and its place in the window; a NaN counts as the maximum.
template <typename T>
struct MaxPool {
    const T* x;
    T* y;
    unsigned char* places;
    unsigned n;
    unsigned height;
    unsigned width;
    unsigned input_height;
    unsigned input_width;
    unsigned side;
    unsigned step;
};

template <typename T>
__device__ void max_pool(const MaxPool<T>& a) {
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned column = i % a.width, row = i / a.width % a.height;
        const T* plane = a.x + i / a.width / a.height * a.input_height * a.input_width;
        const unsigned top = a.step * row, left = a.step * column;
        const unsigned rows = min(a.side, a.input_height - top), columns = min(a.side, a.input_width - left);
        const T* window = plane + size_t(top) * a.input_width + left;
        Wide<T> best = wide(window[0]);
        unsigned place = 0;
        for (unsigned dy = 0; dy < rows; ++dy, window += a.input_width)
            for (unsigned dx = 0; dx < columns; ++dx) {
                const Wide<T> value = wide(window[dx]);
                // Only a NaN differs from itself.
                if (value > best || value != value) {
                    best = value;
                    place = a.side * dy + dx;
                }
            }
        a.y[i] = narrow<T>(best);
        a.places[i] = place;
    }
}
EXPORT_INDEPENDENT(max_pool, MaxPool, 256)

// Each input pixel gathers from the windows that it is the maximum of.
template <typename T>
struct MaxPoolGradient {
    const T* grad;
    const unsigned char* places;
    T* dx;
    unsigned n;
    unsigned height;
    unsigned width;
    unsigned input_height;
    unsigned input_width;
    unsigned side;
    unsigned step;
};

template <typename T>
__device__ void max_pool_gradient(const MaxPoolGradient<T>& a) {
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned x = i % a.input_width, y = i / a.input_width % a.input_height;
        const size_t plane = i / a.input_width / a.input_height * a.height * a.width;
        // Windows that reach this pixel begin at most side - 1 before it.
        const unsigned top = y < a.side ? 0 : (y - a.side) / a.step + 1, left = x < a.side ? 0 : (x - a.side) / a.step + 1;
        Wide<T> sum = 0;
        for (unsigned row = top; a.step * row <= y && row < a.height; ++row)
            for (unsigned column = left; a.step * column <= x && column < a.width; ++column) {
                const size_t window = plane + size_t(row) * a.width + column;
                if (a.places[window] == a.side * (y - a.step * row) + x - a.step * column) sum += wide(a.grad[window]);
            }
        a.dx[i] = narrow<T>(sum);
    }
}
EXPORT_INDEPENDENT(max_pool_gradient, MaxPoolGradient, 256)

KERNELS(planes)
