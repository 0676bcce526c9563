// Attention without its weights in memory: the forward pass keeps a running softmax, the gradients compute the weights again
// from each query's largest energy and sum.
//
// A group has queries and keys that attend to each other. An array of some rows (channels) and n places is laid out as
// (groups / lines, rows, lines, n): `lines` is 1 for groups one after the other, and the number of an image's rows where these
// are the groups.
//
// A thread has LANES places of one side, its lanes; a block goes along the other side in tiles. In a tile, the block's warps
// share out the energies of all its lanes (each takes four of the tile's places) and put them to shared memory; then each
// warp adds up ROWS rows of the result. So for LANES lanes of a thread, four values from shared memory make 4 LANES
// multiplications.
#include "kernel.cuh"

constexpr unsigned TILE = 16;
constexpr unsigned ROWS = 16;
// Registers hold ROWS * LANES sums.
template <typename T>
constexpr unsigned LANES = sizeof(Wide<T>) == 8 ? 2 : 4;
// Below every energy; finite, so that places without keys have weights 0 and not NaN.
constexpr float LOWEST = -1e30f;

template <typename W>
struct alignas(16) Four {
    W at[4];
};

__device__ __forceinline__ float exponential(float x) { return __expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }

__device__ __forceinline__ unsigned whole_rows(unsigned rows) { return (rows + ROWS - 1) / ROWS * ROWS; }

// The rows of one group in an array.
template <typename T>
struct Group {
    T* start;
    size_t step;

    __device__ Group(T* array, unsigned group, unsigned lines, unsigned rows, unsigned n)
        : start(array + size_t(group / lines) * rows * lines * n + size_t(group % lines) * n), step(size_t(lines) * n) {}
    __device__ __forceinline__ T& at(unsigned row, unsigned place) const { return start[row * step + place]; }
};

// The lanes of a thread, and which of them there are.
template <unsigned COUNT>
struct Lanes {
    unsigned place[COUNT];
    unsigned n;

    __device__ Lanes(unsigned block, unsigned n) : n(n) {
        for (unsigned r = 0; r < COUNT; ++r) place[r] = (block * COUNT + r) * WARP + threadIdx.x % WARP;
    }
    // The place to read from.
    __device__ __forceinline__ unsigned safe(unsigned r) const { return min(place[r], n - 1); }
};

// sums[row][lane] += rows[row][j] weights[j][lane] for all places j of a tile, with the weights as `weight` gives them. Of at
// most ROWS / 2 rows that count, the others are left out.
template <typename W, unsigned COUNT, typename F>
__device__ __forceinline__ void add_products(W (&sums)[ROWS][COUNT], const W* rows, unsigned count, F weight) {
    for (unsigned j = 0; j < TILE; j += 4) {
        W w[4][COUNT];
#pragma unroll
        for (unsigned i = 0; i < 4; ++i)
#pragma unroll
            for (unsigned r = 0; r < COUNT; ++r) w[i][r] = weight(j + i, r);
#pragma unroll
        for (unsigned row = 0; row < ROWS; ++row) {
            if (row == ROWS / 2 && count <= ROWS / 2) break;
            const Four<W> four = *reinterpret_cast<const Four<W>*>(rows + row * TILE + j);
#pragma unroll
            for (unsigned i = 0; i < 4; ++i)
#pragma unroll
                for (unsigned r = 0; r < COUNT; ++r) sums[row][r] += four.at[i] * w[i][r];
        }
    }
}

// products[i][lane] += x[row][lane] rows[row][i] for all rows; `x` gives the lanes' values.
template <typename W, unsigned COUNT, typename F>
__device__ __forceinline__ void add_inner_products(W (&products)[4][COUNT], const W* rows, unsigned count, F x) {
#pragma unroll 2
    for (unsigned row = 0; row < count; ++row) {
        const Four<W> four = *reinterpret_cast<const Four<W>*>(rows + row * TILE);
#pragma unroll
        for (unsigned r = 0; r < COUNT; ++r) {
            const W value = x(row, r);
#pragma unroll
            for (unsigned i = 0; i < 4; ++i) products[i][r] += value * four.at[i];
        }
    }
}

template <typename T>
struct Attend {
    const T* q;
    // With a row more than the queries if there is a bias: the bias.
    const T* k;
    const T* v;
    // (parts, as the values), (parts, groups, 2, queries): each part's sums with the weights exp(energy - maximum), the maximum
    // and the weights' sum; if `is_whole`, the attention, the maximum and one over the sum.
    Wide<T>* y;
    Wide<T>* stats;
    unsigned groups;
    unsigned lines;
    unsigned d;
    unsigned key_rows;
    unsigned e;
    unsigned nq;
    unsigned nk;
    // Keys of a part, whole tiles.
    unsigned part;
    unsigned first_part;
    unsigned is_whole;
    // Whether a query does not attend to the key of its own place.
    unsigned is_apart;
};

// Blocks: lanes of all groups, parts of the keys, rows of the result. Bytes: queries read and results written once, keys and
// values read for each block of lanes, from the caches. FLOPs: 2 (d + e), and one exponential for each 16 rows, for each
// pair: with d = 8, e = 64 about 72 FLOPs a byte, which bound it.
template <typename T>
__device__ void attend(const Attend<T>& a) {
    using W = Wide<T>;
    constexpr unsigned COUNT = LANES<T>, WIDTH = COUNT * WARP;
    DYNAMIC_SHARED(W, keys);
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    W* values = keys + a.key_rows * TILE;
    W* energies = values + warps * ROWS * TILE;
    const unsigned tiles = (a.nq + WIDTH - 1) / WIDTH, group = blockIdx.x / tiles;
    const Group<const T> q(a.q, group, a.lines, a.d, a.nq), k(a.k, group, a.lines, a.key_rows, a.nk);
    const Group<const T> v(a.v, group, a.lines, a.e, a.nk);
    const Lanes<COUNT> lanes(blockIdx.x % tiles, a.nq);
    const unsigned first_row = blockIdx.z * warps * ROWS, end = min(a.nk, (blockIdx.y + 1) * a.part);
    // Rows from this warp's first on; 0 if that is none.
    const unsigned rows = a.e - min(a.e, first_row + warp * ROWS);
    W sums[ROWS][COUNT] = {}, maxima[COUNT], total[COUNT] = {};
    for (unsigned r = 0; r < COUNT; ++r) maxima[r] = LOWEST;

    for (unsigned start = blockIdx.y * a.part; start < end; start += TILE) {
        __syncthreads();
        for (unsigned i = threadIdx.x; i < (a.key_rows + warps * ROWS) * TILE; i += blockDim.x) {
            const unsigned row = i / TILE, place = start + i % TILE, value_row = first_row + row - a.key_rows;
            const bool is_key = row < a.key_rows, is_there = place < end && (is_key || value_row < a.e);
            keys[i] = !is_there ? W(0) : wide(is_key ? k.at(row, place) : v.at(value_row, place));
        }
        __syncthreads();
        for (unsigned j = 4 * warp; j < TILE; j += 4 * warps) {
            W products[4][COUNT];
            for (unsigned i = 0; i < 4; ++i)
                for (unsigned r = 0; r < COUNT; ++r)
                    products[i][r] = a.key_rows > a.d ? keys[a.d * TILE + j + i] : W(0);
            add_inner_products(products, keys + j, a.d, [&](unsigned row, unsigned r) {
                return wide(q.at(row, lanes.safe(r)));
            });
            for (unsigned i = 0; i < 4; ++i)
                for (unsigned r = 0; r < COUNT; ++r) {
                    const unsigned place = start + j + i;
                    const bool counts = place < end && !(a.is_apart && place == lanes.place[r]);
                    energies[(j + i) * WIDTH + r * WARP + lane] = counts ? products[i][r] : -W(INFINITY);
                }
        }
        __syncthreads();
        // Each warp computes the weights for itself: exponentials run beside the multiplications.
        for (unsigned r = 0; r < COUNT; ++r) {
            W maximum = maxima[r];
            for (unsigned j = 0; j < TILE; ++j) maximum = max(maximum, energies[j * WIDTH + r * WARP + lane]);
            const W scale = exponential(maxima[r] - maximum);
            maxima[r] = maximum;
            total[r] *= scale;
            for (unsigned row = 0; row < ROWS; ++row) sums[row][r] *= scale;
        }
        add_products(sums, values + warp * ROWS * TILE, rows, [&](unsigned j, unsigned r) {
            const W weight = exponential(energies[j * WIDTH + r * WARP + lane] - maxima[r]);
            total[r] += weight;
            return weight;
        });
    }

    const unsigned part = a.first_part + blockIdx.y;
    const Group<W> y(a.y + size_t(part) * a.groups * a.e * a.nq, group, a.lines, a.e, a.nq);
    const Group<W> stats(a.stats + size_t(part) * a.groups * 2 * a.nq, group, a.lines, 2, a.nq);
    for (unsigned r = 0; r < COUNT; ++r) {
        const unsigned place = lanes.place[r];
        if (place >= a.nq) continue;
        const W scale = a.is_whole ? W(1) / total[r] : W(1);
        for (unsigned i = 0; i < ROWS; ++i) {
            const unsigned row = first_row + warp * ROWS + i;
            if (row < a.e) y.at(row, place) = sums[i][r] * scale;
        }
        if (warp == 0 && blockIdx.z == 0) {
            stats.at(0, place) = maxima[r];
            stats.at(1, place) = a.is_whole ? scale : total[r];
        }
    }
}
EXPORT(attend, Attend, 160)

template <typename T>
struct MergeAttention {
    // As `attend` leaves them.
    const Wide<T>* parts;
    const Wide<T>* part_stats;
    T* y;
    Wide<T>* stats;
    unsigned count;
    unsigned images;
    unsigned rows;
    // Places of an image, all of its lines.
    unsigned plane;
};

// One softmax of the parts'. Bytes: all parts read once, the result written once.
template <typename T>
__device__ void merge_attention(const MergeAttention<T>& a) {
    using W = Wide<T>;
    const size_t thread = thread_index(), all = size_t(a.images) * a.plane;
    if (thread >= all) return;
    const size_t image = thread / a.plane, place = thread % a.plane, here = image * 2 * a.plane + place;
    W maximum = LOWEST, total = 0;
    for (unsigned part = 0; part < a.count; ++part) maximum = max(maximum, a.part_stats[part * 2 * all + here]);
    const auto weight = [&](unsigned part) { return exponential(a.part_stats[part * 2 * all + here] - maximum); };
    for (unsigned part = 0; part < a.count; ++part)
        total += weight(part) * a.part_stats[part * 2 * all + here + a.plane];
    const W scale = W(1) / total;
    for (unsigned row = blockIdx.y; row < a.rows; row += gridDim.y) {
        const size_t at = (image * a.rows + row) * a.plane + place;
        W sum = 0;
        for (unsigned part = 0; part < a.count; ++part) sum += weight(part) * a.parts[part * all * a.rows + at];
        a.y[at] = narrow<T>(sum * scale);
    }
    if (blockIdx.y == 0) {
        a.stats[here] = maximum;
        a.stats[here + a.plane] = scale;
    }
}
EXPORT_INDEPENDENT(merge_attention, MergeAttention, 256)

template <typename T>
struct AttentionDelta {
    const T* y;
    const T* grad;
    Wide<T>* delta;
    unsigned images;
    unsigned rows;
    unsigned plane;
};

// The sum over rows of the result times its gradient. Bytes: both read once.
template <typename T>
__device__ void attention_delta(const AttentionDelta<T>& a) {
    const size_t thread = thread_index();
    if (thread >= size_t(a.images) * a.plane) return;
    const size_t start = thread / a.plane * a.rows * a.plane + thread % a.plane;
    Wide<T> sum = 0;
#pragma unroll 4
    for (unsigned row = 0; row < a.rows; ++row)
        sum += wide(a.y[start + size_t(row) * a.plane]) * wide(a.grad[start + size_t(row) * a.plane]);
    a.delta[thread] = sum;
}
EXPORT_INDEPENDENT(attention_delta, AttentionDelta, 256)

template <typename T>
struct AttentionGradient {
    const T* q;
    const T* k;
    const T* v;
    const T* grad;
    const Wide<T>* stats;
    const Wide<T>* delta;
    // (parts, as the queries), or (parts, as the keys) and (parts, as the values).
    Wide<T>* of_energies;
    Wide<T>* of_values;
    unsigned groups;
    unsigned lines;
    unsigned d;
    unsigned key_rows;
    unsigned e;
    unsigned nq;
    unsigned nk;
    // Places of a part of the other side, whole tiles.
    unsigned part;
    unsigned is_apart;
};

// The gradients of one side. With w = exp(energy - maximum) and everything of a query that follows divided by its sum of
// exponentials, that of an energy is w (grad . v - delta); the gradients of queries and keys are sums of these with the other
// side, those of values are sums of w grad.
//
// Bytes as in `attend`. FLOPs for each pair: energies and slopes again, 2 (d + e), and 2 d for queries or 2 (d + e) for keys
// and values; one exponential. They bound it.
template <typename T, bool IS_QUERIES>
__device__ __forceinline__ void attention_gradient(const AttentionGradient<T>& a) {
    using W = Wide<T>;
    constexpr unsigned COUNT = LANES<T>, WIDTH = COUNT * WARP;
    DYNAMIC_SHARED(W, near);
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    const unsigned near_rows = whole_rows(a.key_rows), value_rows = whole_rows(a.e);
    // A tile of the other side: what meets the lanes in energies and in slopes, maxima and deltas of queries.
    W* far = near + near_rows * TILE;
    W* maxima = far + value_rows * TILE;
    W* deltas = maxima + TILE;
    W* weights = deltas + TILE;
    // Of the gradients of queries, the slopes take the place of the weights, which nothing else needs.
    W* slopes = IS_QUERIES ? weights : weights + TILE * WIDTH;
    const unsigned n = IS_QUERIES ? a.nq : a.nk, others = IS_QUERIES ? a.nk : a.nq;
    const unsigned tiles = (n + WIDTH - 1) / WIDTH, group = blockIdx.x / tiles;
    const Group<const T> q(a.q, group, a.lines, a.d, a.nq), k(a.k, group, a.lines, a.key_rows, a.nk);
    const Group<const T> grad(a.grad, group, a.lines, a.e, a.nq), v(a.v, group, a.lines, a.e, a.nk);
    const Group<const W> stats(a.stats, group, a.lines, 2, a.nq), delta(a.delta, group, a.lines, 1, a.nq);
    const Lanes<COUNT> lanes(blockIdx.x % tiles, n);

    // What this warp adds up: rows of the energies' side first, then those of values.
    const unsigned wanted = IS_QUERIES ? a.d : a.key_rows;
    const unsigned row_block = (blockIdx.z * warps + warp) * ROWS;
    const bool is_value = row_block >= whole_rows(wanted);
    const unsigned first_row = is_value ? row_block - whole_rows(wanted) : row_block;
    const unsigned rows = is_value ? (IS_QUERIES ? 0 : a.e) : wanted;
    const bool has_rows = first_row < rows;

    W maximum[COUNT], scale[COUNT], own_delta[COUNT];
    for (unsigned r = 0; r < COUNT; ++r) {
        maximum[r] = IS_QUERIES ? stats.at(0, lanes.safe(r)) : W(0);
        scale[r] = IS_QUERIES ? stats.at(1, lanes.safe(r)) : W(1);
        own_delta[r] = IS_QUERIES ? delta.at(0, lanes.safe(r)) : W(0);
    }
    W sums[ROWS][COUNT] = {};
    const unsigned end = min(others, (blockIdx.y + 1) * a.part);
    for (unsigned start = blockIdx.y * a.part; start < end; start += TILE) {
        __syncthreads();
        for (unsigned i = threadIdx.x; i < (near_rows + value_rows) * TILE; i += blockDim.x) {
            const unsigned row = i / TILE, place = start + i % TILE;
            W value = 0;
            if (place < end && row < near_rows) {
                if (IS_QUERIES && row < a.key_rows) value = wide(k.at(row, place));
                // Queries meet the bias with a 1.
                if (!IS_QUERIES && row < a.key_rows) value = row < a.d ? wide(q.at(row, place)) : W(1);
            } else if (place < end && row - near_rows < a.e) {
                if (IS_QUERIES) value = wide(v.at(row - near_rows, place));
                if (!IS_QUERIES) value = wide(grad.at(row - near_rows, place)) * stats.at(1, place);
            }
            near[i] = value;
        }
        for (unsigned i = threadIdx.x; i < TILE; i += blockDim.x) {
            const bool is_there = !IS_QUERIES && start + i < end;
            maxima[i] = is_there ? stats.at(0, start + i) : W(0);
            deltas[i] = is_there ? delta.at(0, start + i) * stats.at(1, start + i) : W(0);
        }
        __syncthreads();
        for (unsigned j = 4 * warp; j < TILE; j += 4 * warps) {
            const auto at = [&](unsigned i, unsigned r) { return (j + i) * WIDTH + r * WARP + lane; };
            // One after the other, for fewer registers.
            W products[4][COUNT];
            for (unsigned i = 0; i < 4; ++i)
                for (unsigned r = 0; r < COUNT; ++r) {
                    const bool has_bias = IS_QUERIES && a.key_rows > a.d;
                    products[i][r] = (has_bias ? near[a.d * TILE + j + i] : W(0)) - maximum[r] - maxima[j + i];
                }
            add_inner_products(products, near + j, IS_QUERIES ? a.d : a.key_rows, [&](unsigned row, unsigned r) {
                return wide(IS_QUERIES ? q.at(row, lanes.safe(r)) : k.at(row, lanes.safe(r)));
            });
            for (unsigned i = 0; i < 4; ++i)
                for (unsigned r = 0; r < COUNT; ++r) {
                    const unsigned place = start + j + i;
                    const bool counts = place < end && !(a.is_apart && place == lanes.place[r]);
                    weights[at(i, r)] = counts ? exponential(products[i][r]) : W(0);
                    products[i][r] = -own_delta[r] - deltas[j + i];
                }
            add_inner_products(products, far + j, a.e, [&](unsigned row, unsigned r) {
                return wide(IS_QUERIES ? grad.at(row, lanes.safe(r)) : v.at(row, lanes.safe(r)));
            });
            for (unsigned i = 0; i < 4; ++i)
                for (unsigned r = 0; r < COUNT; ++r)
                    slopes[at(i, r)] = weights[at(i, r)] * products[i][r] * scale[r];
        }
        __syncthreads();
        if (!has_rows) continue;
        const W* of_lanes = is_value ? weights : slopes;
        add_products(sums, (is_value ? far : near) + first_row * TILE, rows - first_row, [&](unsigned j, unsigned r) {
            return of_lanes[j * WIDTH + r * WARP + lane];
        });
    }

    if (!has_rows) return;
    W* out = is_value ? a.of_values : a.of_energies;
    const Group<W> result(out + size_t(blockIdx.y) * a.groups * rows * n, group, a.lines, rows, n);
    for (unsigned i = 0; i < ROWS && first_row + i < rows; ++i)
        for (unsigned r = 0; r < COUNT; ++r)
            if (lanes.place[r] < n) result.at(first_row + i, lanes.place[r]) = sums[i][r];
}

template <typename T>
__device__ void query_gradient(const AttentionGradient<T>& a) {
    attention_gradient<T, true>(a);
}
EXPORT(query_gradient, AttentionGradient, 160)

template <typename T>
__device__ void key_gradient(const AttentionGradient<T>& a) {
    attention_gradient<T, false>(a);
}
EXPORT(key_gradient, AttentionGradient, 160)

KERNELS(attention)
