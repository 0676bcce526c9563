// A step of Adam. Reads parameter, gradient and both moments, writes parameter and moments: 28 bytes an f32 element.
#include "kernel.cuh"

template <typename T>
struct Adam {
    const T* parameter;
    // All first moments, then all second ones.
    const T* moments;
    const T* grad;
    T* new_parameter;
    T* new_moments;
    unsigned n;
    double beta1;
    double beta2;
    // The learning rate over the first moments' bias, and the root of that of the second.
    double rate;
    double root;
    double eps;
};

template <typename T>
__device__ void adam(const Adam<T>& a) {
    using W = Wide<T>;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const W g = wide(a.grad[i]);
        const W m = W(a.beta1) * wide(a.moments[i]) + W(1 - a.beta1) * g;
        const W v = W(a.beta2) * wide(a.moments[a.n + i]) + W(1 - a.beta2) * g * g;
        a.new_moments[i] = narrow<T>(m);
        a.new_moments[a.n + i] = narrow<T>(v);
        a.new_parameter[i] = narrow<T>(wide(a.parameter[i]) - W(a.rate) * m / (sqrt(v) * W(1 / a.root) + W(a.eps)));
    }
}
EXPORT_INDEPENDENT(adam, Adam, 256)

KERNELS(adam)
