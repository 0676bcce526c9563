// Means over two tensors, element by element. Forwards 8 bytes an f32 element, gradients 12; that is the bound but for
// CHARBONNIER and SOFTPLUS, whose roots and exponentials in double take about as long.
#include "sums.cuh"

enum Distance : unsigned { SQUARED, ABSOLUTE, SMOOTH_L1, CHARBONNIER, SQUARED_FROM, SOFTPLUS, HINGE, TIMES };

__device__ __forceinline__ double sign(double x) { return double(x > 0) - double(x < 0); }

// The last four do not look at t. `number` is the distance's option.
__device__ __forceinline__ double distance(unsigned kind, double p, double t, double number) {
    const double d = p - t;
    switch (kind) {
        case SQUARED: return d * d;
        case ABSOLUTE: return fabs(d);
        case SMOOTH_L1: return fabs(d) < number ? d * d / (2 * number) : fabs(d) - number / 2;
        // √(d² + ε²) − ε without the loss of digits.
        case CHARBONNIER: return d * d / (sqrt(d * d + number * number) + number);
        case SQUARED_FROM: return (p - number) * (p - number);
        case SOFTPLUS: return fmax(number * p, 0.0) + log1p(exp(-fabs(p)));
        // Written so that a NaN stays one.
        case HINGE: return 1 + number * p < 0 ? 0 : 1 + number * p;
        default: return number * p;
    }
}

// Its derivative by p; at a kink 0.
__device__ __forceinline__ double slope(unsigned kind, double p, double t, double number) {
    const double d = p - t;
    switch (kind) {
        case SQUARED: return 2 * d;
        case ABSOLUTE: return sign(d);
        case SMOOTH_L1: return fabs(d) < number ? d / number : sign(d);
        case CHARBONNIER: return d / sqrt(d * d + number * number);
        case SQUARED_FROM: return 2 * (p - number);
        case SOFTPLUS: return number / (1 + exp(-number * p));
        case HINGE: return 1 + number * p > 0 ? number : 0;
        default: return number;
    }
}

// Blocks over chunks of an image along x, images along y.
template <typename T>
struct Sums {
    const T* p;
    const T* t;
    double* partial;
    unsigned image;
    unsigned chunk;
    unsigned kind;
    double number;
};

template <typename T>
__device__ void distance_sums(const Sums<T>& a) {
    __shared__ double scratch[WARP + 1];
    const size_t start = size_t(blockIdx.y) * a.image;
    const size_t first = size_t(blockIdx.x) * a.chunk, last = min(first + a.chunk, size_t(a.image));
    double sum = 0;
    for (size_t i = first + threadIdx.x; i < last; i += blockDim.x)
        sum += distance(a.kind, wide(a.p[start + i]), wide(a.t[start + i]), a.number);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) a.partial[size_t(blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}
EXPORT(distance_sums, Sums, 256)

EXPORT(add_up, AddUp, 256)

template <typename T>
struct Gradient {
    const T* p;
    const T* t;
    // By the mean of each image.
    const double* grad;
    T* dp;
    unsigned n;
    unsigned image;
    unsigned kind;
    double number;
};

template <typename T>
__device__ void distance_gradient(const Gradient<T>& a) {
    const double share = 1.0 / a.image;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const double by = slope(a.kind, wide(a.p[i]), wide(a.t[i]), a.number);
        a.dp[i] = narrow<T>(Wide<T>(a.grad[i / a.image] * share * by));
    }
}
EXPORT_INDEPENDENT(distance_gradient, Gradient, 256)

// The mean of 10 log10((m + ε)/ε) over n means, and its derivatives. One block; T is not looked at.
template <typename T>
struct Decibels {
    const double* m;
    double* mean;
    double* slopes;
    unsigned n;
    double eps;
};

template <typename T>
__device__ void decibels(const Decibels<T>& a) {
    __shared__ double scratch[WARP + 1];
    const double scale = 10.0 / (a.n * 2.302585092994045684);
    double sum = 0;
    for (unsigned i = threadIdx.x; i < a.n; i += blockDim.x) {
        sum += log1p(a.m[i] / a.eps);
        a.slopes[i] = scale / (a.m[i] + a.eps);
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) *a.mean = scale * sum;
}
EXPORT(decibels, Decibels, 256)

KERNELS(mean)
