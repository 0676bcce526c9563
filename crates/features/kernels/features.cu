// The input of classifiers, and LPIPS. Bound by bytes: 8 an f32 element to normalise; LPIPS reads 8 forwards, and the
// prediction again from the caches, and moves 12 backwards.
#include "sums.cuh"

// (x − shift) / std of each of three planes.
template <typename T>
struct Normalise {
    const T* x;
    T* y;
    unsigned n;
    unsigned plane;
    double shift[3];
    double std[3];
};

template <typename T>
__device__ void normalise(const Normalise<T>& a) {
    using W = Wide<T>;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned channel = unsigned(i) / a.plane % 3;
        // Not by an index, which would put the arguments into memory.
        const double shift = channel == 0 ? a.shift[0] : channel == 1 ? a.shift[1] : a.shift[2];
        const double std = channel == 0 ? a.std[0] : channel == 1 ? a.std[1] : a.std[2];
        a.y[i] = narrow<T>((wide(a.x[i]) - W(shift)) / W(std));
    }
}
EXPORT_INDEPENDENT(normalise, Normalise, 256)

// Feature maps (images, channels, positions): blocks over positions, a lane each, along x, and over images along y; warps share
// the channels out.
__device__ __forceinline__ unsigned position() { return blockIdx.x * WARP + threadIdx.x % WARP; }

// The length of the feature vector at this thread's position; 0 beyond the last.
template <typename T>
__device__ Wide<T> length(const T* x, unsigned channels, unsigned positions, Wide<T> (*scratch)[WARP]) {
    Wide<T> squares = 0;
    if (position() < positions)
        for (unsigned c = threadIdx.x / WARP; c < channels; c += blockDim.x / WARP) {
            const Wide<T> value = wide(x[size_t(c) * positions]);
            squares += value * value;
        }
    return sqrt(sum_over_warps(squares, scratch));
}

// Vectors of length 1.
template <typename T>
struct Unit {
    const T* x;
    T* unit;
    unsigned channels;
    unsigned positions;
    double eps;
};

template <typename T>
__device__ void lpips_unit(const Unit<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[SHARING][WARP];
    const size_t start = size_t(blockIdx.y) * a.channels * a.positions + position();
    const W inverse = W(1) / (length(a.x + start, a.channels, a.positions, scratch) + W(a.eps));
    if (position() >= a.positions) return;
    for (unsigned c = threadIdx.x / WARP; c < a.channels; c += blockDim.x / WARP) {
        const size_t at = start + size_t(c) * a.positions;
        a.unit[at] = narrow<T>(wide(a.x[at]) * inverse);
    }
}
EXPORT(lpips_unit, Unit, 256)

// Σ_c w_c (p̂_c − t̂_c)²: the sum over the block's positions, and what the gradient needs at each. With n = ‖p‖, s = 1 / (n + ε),
// d = s p − t̂ and q = Σ w d p it is 2 (s w d − s² q/n p).
template <typename T>
struct Lpips {
    const T* p;
    const T* unit;
    const Wide<T>* weights;
    double* partial;
    // s at all positions of all images, then s² q/n.
    Wide<T>* notes;
    unsigned channels;
    unsigned positions;
    double eps;
};

template <typename T>
__device__ void lpips(const Lpips<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[SHARING][WARP];
    const size_t start = size_t(blockIdx.y) * a.channels * a.positions + position();
    const W norm = length(a.p + start, a.channels, a.positions, scratch), inverse = W(1) / (norm + W(a.eps));
    W sum = 0, share = 0;
    if (position() < a.positions)
        for (unsigned c = threadIdx.x / WARP; c < a.channels; c += blockDim.x / WARP) {
            const size_t at = start + size_t(c) * a.positions;
            const W p = wide(a.p[at]), d = product(p, inverse) - wide(a.unit[at]), weighted = a.weights[c] * d;
            sum += weighted * d;
            share += weighted * p;
        }
    sum = sum_over_warps(sum, scratch);
    share = sum_over_warps(share, scratch);
    if (threadIdx.x >= WARP) return;
    if (position() < a.positions) {
        const size_t at = size_t(blockIdx.y) * a.positions + position(), count = size_t(gridDim.y) * a.positions;
        // A factor of 0 leaves a vector of zeros without gradient.
        const bool zero = norm <= W(a.eps);
        a.notes[at] = zero ? W(0) : inverse;
        a.notes[count + at] = zero ? W(0) : share * inverse * inverse / norm;
    }
    const double total = warp_sum(double(sum));
    if (threadIdx.x == 0) a.partial[size_t(blockIdx.y) * gridDim.x + blockIdx.x] = total;
}
EXPORT(lpips, Lpips, 256)

template <typename T>
struct LpipsGradient {
    const T* p;
    const T* unit;
    const Wide<T>* weights;
    const Wide<T>* notes;
    // By the mean, of which `scale` is the share of a position.
    const double* grad;
    T* dp;
    unsigned n;
    unsigned channels;
    unsigned positions;
    double scale;
};

template <typename T>
__device__ void lpips_gradient(const LpipsGradient<T>& a) {
    using W = Wide<T>;
    const W twice = W(2 * a.scale * *a.grad);
    const unsigned count = a.n / a.channels;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned plane = unsigned(i) / a.positions, image = plane / a.channels;
        const size_t at = size_t(image) * a.positions + unsigned(i) % a.positions;
        const W p = wide(a.p[i]), s = a.notes[at];
        const W d = product(p, s) - wide(a.unit[i]);
        a.dp[i] = narrow<T>(twice * (s * a.weights[plane % a.channels] * d - a.notes[count + at] * p));
    }
}
EXPORT_INDEPENDENT(lpips_gradient, LpipsGradient, 256)

EXPORT(add_up, AddUp, 256)

KERNELS(features)
