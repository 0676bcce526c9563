// Instance norm with an activation; one block a plane. Bytes: the plane is read twice (once from the L2 cache) and written
// once.
#include "kernel.cuh"
#include "activation.cuh"

template <typename T>
struct InstanceNorm {
    const T* x;
    T* y;
    // Mean and 1/std of each plane.
    Wide<T>* stats;
    unsigned plane;
    double eps;
    Ramp ramp;
};

template <typename T>
__device__ void instance_norm(const InstanceNorm<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const T* x = a.x + size_t(blockIdx.x) * a.plane;
    T* y = a.y + size_t(blockIdx.x) * a.plane;
    W mean, rstd;
    plane_moments(x, a.plane, W(a.eps), scratch, mean, rstd);
    for (unsigned i = threadIdx.x; i < a.plane; i += blockDim.x) {
        const W value = (wide(x[i]) - mean) * rstd;
        y[i] = narrow<T>(activated(value, a.ramp));
    }
    if (threadIdx.x == 0) {
        a.stats[2 * blockIdx.x] = mean;
        a.stats[2 * blockIdx.x + 1] = rstd;
    }
}
EXPORT(instance_norm, InstanceNorm, 1024)

template <typename T>
struct InstanceNormGradient {
    // The input, or the output where the activation can be undone.
    const T* kept;
    const Wide<T>* stats;
    const T* grad;
    T* dx;
    unsigned plane;
    unsigned invertible;
    Ramp ramp;
};

template <typename T>
__device__ void instance_norm_gradient(const InstanceNormGradient<T>& a) {
    using W = Wide<T>;
    __shared__ W scratch[WARP + 1];
    const T* kept = a.kept + size_t(blockIdx.x) * a.plane;
    const T* grad = a.grad + size_t(blockIdx.x) * a.plane;
    T* dx = a.dx + size_t(blockIdx.x) * a.plane;
    const W mean = a.stats[2 * blockIdx.x], rstd = a.stats[2 * blockIdx.x + 1];
    const W offset = a.invertible ? W(0) : mean, scale = a.invertible ? W(1) : rstd;
    const W inverse = a.invertible ? W(1) / W(a.ramp.slope) : W(1);
    const auto normalised = [&](unsigned i) {
        const W value = (wide(kept[i]) - offset) * scale;
        return value > 0 ? value : inverse * value;
    };
    W sum = 0, dot = 0;
    for (unsigned i = threadIdx.x; i < a.plane; i += blockDim.x) {
        const W y = normalised(i);
        const W g = through(W(wide(grad[i])), y, a.ramp);
        sum += g;
        dot += g * y;
    }
    sum = block_sum(sum, scratch) / W(a.plane);
    dot = block_sum(dot, scratch) / W(a.plane);
    for (unsigned i = threadIdx.x; i < a.plane; i += blockDim.x) {
        const W y = normalised(i);
        const W g = through(W(wide(grad[i])), y, a.ramp);
        dx[i] = narrow<T>(rstd * (g - sum - y * dot));
    }
}
EXPORT(instance_norm_gradient, InstanceNormGradient, 1024)

KERNELS(instance_norm)
