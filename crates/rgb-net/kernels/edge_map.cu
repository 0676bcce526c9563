// The edge map: second differences of an image's levels along two axes, stretched to [0, 1]. Bytes: the image read twice, the
// map written once.
#include "kernel.cuh"

template <typename T>
struct EdgeMap {
    const T* gray;
    // (groups, parts, 2): minus the least edge of each part of a group, and the largest. The first kernel's result.
    float* ranges;
    // The second kernel's.
    T* y;
    // Elements of a group, which are stretched together.
    unsigned n;
    // Of both axes, how long they are and how many elements lie between neighbours.
    unsigned first_length;
    unsigned first_step;
    unsigned second_length;
    unsigned second_step;
};

// As on the processor, f32 for every type.
template <typename T>
__device__ __forceinline__ float level(T gray) {
    return floorf(float(wide(gray)) * 255.0f);
}

// Reflect-101; an axis of length one gives zero.
template <typename T>
__device__ __forceinline__ float second_difference(const T* gray, unsigned i, unsigned length, unsigned step) {
    const unsigned place = i / step % length, inwards = length > 1 ? step : 0;
    const unsigned before = place > 0 ? i - step : i + inwards;
    const unsigned after = place + 1 < length ? i + step : i - inwards;
    return level(gray[before]) - 2.0f * level(gray[i]) + level(gray[after]);
}

// Calls f(place, edge) for this thread's elements of the block's group.
template <typename T, typename F>
__device__ __forceinline__ void for_edges(const EdgeMap<T>& a, F f) {
    const T* gray = a.gray + size_t(blockIdx.y) * a.n;
    for (size_t at = thread_index(); at < a.n; at += thread_count()) {
        const unsigned i = unsigned(at);
        const float first = second_difference(gray, i, a.first_length, a.first_step);
        f(i, first + second_difference(gray, i, a.second_length, a.second_step));
    }
}

// Blocks over parts and groups.
template <typename T>
__device__ void edge_ranges(const EdgeMap<T>& a) {
    __shared__ float scratch[WARP + 1];
    float minus_least = -INFINITY, most = -INFINITY;
    for_edges(a, [&](unsigned, float edge) {
        minus_least = -edge > minus_least ? -edge : minus_least;
        most = edge > most ? edge : most;
    });
    minus_least = block_max(minus_least, scratch);
    most = block_max(most, scratch);
    if (threadIdx.x > 0) return;
    float* range = a.ranges + (size_t(blockIdx.y) * gridDim.x + blockIdx.x) * 2;
    range[0] = minus_least;
    range[1] = most;
}
EXPORT(edge_ranges, EdgeMap, 1024)

// The same blocks.
template <typename T>
__device__ void edge_map(const EdgeMap<T>& a) {
    __shared__ float scratch[WARP + 1];
    const float* ranges = a.ranges + size_t(blockIdx.y) * gridDim.x * 2;
    float minus_least = -INFINITY, most = -INFINITY;
    for (unsigned part = threadIdx.x; part < gridDim.x; part += blockDim.x) {
        minus_least = ranges[2 * part] > minus_least ? ranges[2 * part] : minus_least;
        most = ranges[2 * part + 1] > most ? ranges[2 * part + 1] : most;
    }
    const float low = -block_max(minus_least, scratch), range = block_max(most, scratch) - low;
    T* y = a.y + size_t(blockIdx.y) * a.n;
    for_edges(a, [&](unsigned i, float edge) { y[i] = narrow<T>(range > 0 ? (edge - low) / range : 0.0f); });
}
EXPORT(edge_map, EdgeMap, 1024)

KERNELS(edge_map)
