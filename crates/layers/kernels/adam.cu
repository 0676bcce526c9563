// A step of Adam or AdamW on many parameters at once: most are so small that launches of their own would take longer than the step.
// Reads parameter, gradient and both moments, writes parameter and moments: 28 bytes an f32 element.
#include "kernel.cuh"

// Parameters of a launch, as many as its arguments have room for; a power of two.
constexpr unsigned MOST = 64;
// Elements of a block.
constexpr unsigned CHUNK = 4096;

template <typename T>
struct Adam {
    T* parameter[MOST];
    // All first moments, then all second ones.
    T* moments[MOST];
    const T* grad[MOST];
    unsigned n[MOST];
    // The first block of each parameter; where there is no parameter, the number of blocks.
    unsigned first[MOST];
    // The learning rate over the first moments' bias.
    double rate[MOST];
    // What the decay of weights leaves of a parameter: 1 without it.
    double keep[MOST];
    double beta1;
    double beta2;
    // One over the root of the second moments' bias.
    double scale;
    double eps;
};

template <typename T>
__device__ void adam(const Adam<T>& a) {
    using W = Wide<T>;
    // The last that begins no later than this block: one without elements begins where the next does.
    unsigned at = 0;
    for (unsigned step = MOST / 2; step > 0; step /= 2)
        if (a.first[at + step] <= blockIdx.x) at += step;
    const size_t start = size_t(blockIdx.x - a.first[at]) * CHUNK;
    T* parameter = a.parameter[at] + start;
    T* first_moments = a.moments[at] + start;
    T* second_moments = first_moments + a.n[at];
    const T* grad = a.grad[at] + start;
    const W rate = W(a.rate[at]);
    const W keep = W(a.keep[at]);
    const unsigned count = unsigned(min(size_t(CHUNK), a.n[at] - start));
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
        const W g = wide(grad[i]);
        const W m = W(a.beta1) * wide(first_moments[i]) + W(1 - a.beta1) * g;
        const W v = W(a.beta2) * wide(second_moments[i]) + W(1 - a.beta2) * g * g;
        first_moments[i] = narrow<T>(m);
        second_moments[i] = narrow<T>(v);
        parameter[i] = narrow<T>(wide(parameter[i]) * keep - rate * m / (sqrt(v) * W(a.scale) + W(a.eps)));
    }
}
EXPORT_INDEPENDENT(adam, Adam, 256)

KERNELS(adam)
