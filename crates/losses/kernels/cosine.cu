// Cosines between feature vectors. Reads 8 bytes an f32 element forwards, moves 12 backwards: the bound.
#include "sums.cuh"

// Norms below this count as this: a zero vector is orthogonal to everything.
constexpr double SMALLEST_NORM = 1e-8;

// 1 − cosine of p and t (images, channels, positions): the sum over the block's positions, and what the gradient needs at each.
// Blocks over positions, a lane each, along x, and over images along y; warps share the channels out.
template <typename T>
struct Cosine {
    const T* p;
    const T* t;
    double* partial;
    // The gradient of the cosine by p is a t − b p: a at all positions of all images, then b.
    double* factors;
    unsigned channels;
    unsigned positions;
};

template <typename T>
__device__ void cosine(const Cosine<T>& a) {
    __shared__ double scratch[SHARING][WARP];
    const unsigned position = blockIdx.x * WARP + threadIdx.x % WARP;
    const bool inside = position < a.positions;
    const size_t start = size_t(blockIdx.y) * a.channels * a.positions + position;
    double pt = 0, pp = 0, tt = 0;
    if (inside)
        for (unsigned c = threadIdx.x / WARP; c < a.channels; c += blockDim.x / WARP) {
            const size_t at = start + size_t(c) * a.positions;
            const double p = wide(a.p[at]), t = wide(a.t[at]);
            pt += p * t;
            pp += p * p;
            tt += t * t;
        }
    pt = sum_over_warps(pt, scratch);
    pp = sum_over_warps(pp, scratch);
    tt = sum_over_warps(tt, scratch);
    if (threadIdx.x >= WARP) return;
    // Written so that a NaN stays one.
    const double p_norm = sqrt(pp) < SMALLEST_NORM ? SMALLEST_NORM : sqrt(pp);
    const double t_norm = sqrt(tt) < SMALLEST_NORM ? SMALLEST_NORM : sqrt(tt);
    const double cosine = pt / (p_norm * t_norm);
    if (inside) {
        const size_t at = size_t(blockIdx.y) * a.positions + position, count = size_t(gridDim.y) * a.positions;
        a.factors[at] = 1 / (p_norm * t_norm);
        a.factors[count + at] = sqrt(pp) <= SMALLEST_NORM ? 0 : cosine / (p_norm * p_norm);
    }
    // Rounding must not make a distance negative.
    const double distance = !inside || 1 - cosine < 0 ? 0 : 1 - cosine;
    const double sum = warp_sum(distance);
    if (threadIdx.x == 0) a.partial[size_t(blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}
EXPORT(cosine, Cosine, 256)

template <typename T>
struct CosineGradient {
    const T* p;
    const T* t;
    const double* factors;
    // By the mean, of which `scale` is the share of a position.
    const double* grad;
    T* dp;
    unsigned n;
    unsigned channels;
    unsigned positions;
    double scale;
};

template <typename T>
__device__ void cosine_gradient(const CosineGradient<T>& a) {
    const double scale = a.scale * *a.grad;
    const unsigned count = a.n / a.channels;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned image = unsigned(i) / (a.channels * a.positions);
        const size_t at = size_t(image) * a.positions + unsigned(i) % a.positions;
        const double by = a.factors[count + at] * wide(a.p[i]) - a.factors[at] * wide(a.t[i]);
        a.dp[i] = narrow<T>(Wide<T>(scale * by));
    }
}
EXPORT_INDEPENDENT(cosine_gradient, CosineGradient, 256)

KERNELS(cosine)
