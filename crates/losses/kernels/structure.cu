// Structural similarity and its gradient, scale by scale. A block blurs a tile in shared memory, down the columns first; each
// plane's windows are compared where their means come out, so that no blurred image is stored.
//
// An f32 window of `compare` reads 8 bytes of images and 8 of the target's statistics and writes 12 of slopes; `spread` reads
// these, 8 of images and a quarter of a coarser gradient, and writes 4: 53 bytes in all, and the borders of tiles from the
// second-level cache. Both do 66 multiply-adds a window for 11 taps, of 55 loads from shared memory; a third more at borders of
// tiles. That takes about as long as the bytes do.
#include "sums.cuh"

// Windows of a tile, and of one thread down a column: what it has loaded serves several.
constexpr unsigned BREADTH = 32, HEIGHT = 16, STRIP = 4;
// The window that loops are unrolled for.
constexpr unsigned USUAL = 11;
constexpr unsigned MOST_SCALES = 5;

// A tile of a plane with the margin that its windows reach into.
struct Tile {
    unsigned row, column, pitch, high;
    __device__ explicit Tile(unsigned taps)
        : row(blockIdx.y * HEIGHT), column(blockIdx.x * BREADTH), pitch(BREADTH + taps - 1), high(HEIGHT + taps - 1) {}
    __device__ unsigned size() const { return pitch * high; }
};

// Down the columns: K sums for each row of the tile. `values` gives K numbers for each place of a tile with margin.
template <unsigned N, unsigned K, typename W, typename F>
__device__ void down(const Tile& tile, unsigned count, const W* taps, W* mixed, F values) {
    const unsigned n = N ? N : count, pitch = N ? BREADTH + N - 1 : tile.pitch;
    for (unsigned i = threadIdx.x; i < pitch * (HEIGHT / STRIP); i += blockDim.x) {
        const unsigned column = i % pitch, first = i / pitch * STRIP;
        W sums[STRIP][K] = {};
#pragma unroll (N ? N + STRIP - 1 : 1)
        for (unsigned j = 0; j < n + STRIP - 1; ++j) {
            W numbers[K];
            values((first + j) * pitch + column, numbers);
#pragma unroll
            for (unsigned s = 0; s < STRIP; ++s)
                if (j >= s && j - s < n)
#pragma unroll
                    for (unsigned k = 0; k < K; ++k) sums[s][k] += taps[j - s] * numbers[k];
        }
#pragma unroll
        for (unsigned s = 0; s < STRIP; ++s)
#pragma unroll
            for (unsigned k = 0; k < K; ++k) mixed[(k * HEIGHT + first + s) * pitch + column] = sums[s][k];
    }
}

// Along a row of what `down` has left.
template <unsigned N, unsigned K, typename W>
__device__ __forceinline__ void along(
    const Tile& tile, unsigned count, const W* taps, const W* mixed, unsigned y, unsigned x, W (&sums)[K]) {
    const unsigned n = N ? N : count, pitch = N ? BREADTH + N - 1 : tile.pitch;
#pragma unroll
    for (unsigned k = 0; k < K; ++k) {
        const W* row = mixed + (k * HEIGHT + y) * pitch + x;
        sums[k] = 0;
#pragma unroll (N ? N : 1)
        for (unsigned j = 0; j < n; ++j) sums[k] += taps[j] * row[j];
    }
}

// A variance that rounding may have made negative; a NaN stays one.
template <typename W>
__device__ __forceinline__ W above_zero(W variance) {
    return variance < 0 ? W(0) : variance;
}

// Blocks over tiles of windows and, along z, planes.
template <typename T>
struct Describe {
    const T* image;
    const Wide<T>* taps;
    Wide<T>* mean;
    Wide<T>* variance;
    unsigned height;
    unsigned width;
    unsigned n;
};

template <unsigned N, typename T>
__device__ void describe_by(const Describe<T>& a) {
    using W = Wide<T>;
    DYNAMIC_SHARED(W, room);
    __shared__ W scratch[WARP + 1];
    const Tile tile(a.n);
    W *image = room, *mixed = image + tile.size(), *taps = mixed + 2 * HEIGHT * tile.pitch;
    const T* plane = a.image + size_t(blockIdx.z) * a.height * a.width;
    W sum = 0, count = 0;
    for (unsigned i = threadIdx.x; i < tile.size(); i += blockDim.x) {
        const unsigned y = tile.row + i / tile.pitch, x = tile.column + i % tile.pitch;
        const bool inside = y < a.height && x < a.width;
        image[i] = inside ? wide(plane[size_t(y) * a.width + x]) : W(0);
        sum += image[i];
        count += inside ? W(1) : W(0);
    }
    for (unsigned i = threadIdx.x; i < a.n; i += blockDim.x) taps[i] = a.taps[i];
    // A variance keeps more digits if it is that of small numbers.
    sum = block_sum(sum, scratch);
    const W centre = sum / block_sum(count, scratch);
    down<N, 2>(tile, a.n, taps, mixed, [&](unsigned at, W(&out)[2]) {
        out[0] = image[at] - centre;
        out[1] = out[0] * out[0];
    });
    __syncthreads();
    const unsigned rows = a.height + 1 - a.n, columns = a.width + 1 - a.n;
    for (unsigned i = threadIdx.x; i < HEIGHT * BREADTH; i += blockDim.x) {
        const unsigned y = i / BREADTH, x = i % BREADTH;
        if (tile.row + y >= rows || tile.column + x >= columns) continue;
        W means[2];
        along<N, 2>(tile, a.n, taps, mixed, y, x, means);
        const size_t at = (size_t(blockIdx.z) * rows + tile.row + y) * columns + tile.column + x;
        a.mean[at] = means[0] + centre;
        a.variance[at] = above_zero(means[1] - means[0] * means[0]);
    }
}

template <typename T>
__device__ void describe(const Describe<T>& a) {
    if (a.n == USUAL)
        describe_by<USUAL>(a);
    else
        describe_by<0>(a);
}
EXPORT(describe, Describe, 256)

enum Part : unsigned { ALL, LUMINANCE, CONTRAST, STRUCTURE, CONTRAST_STRUCTURE };

// Means and variances in one window; d is p − t.
template <typename W>
struct Window {
    W mean_d, mean_p, mean_t, var_d, var_p, var_t;
};

// 1 less a factor of SSIM, with its derivatives by the mean of d (and p at once) and by the variances of d and p.
template <typename W>
struct Lack {
    W value, by_mean, by_var_d, by_var_p;
};

// 1 − l, with l = (2 μ_p μ_t + C1)/(μ_p² + μ_t² + C1).
template <typename W>
__device__ __forceinline__ Lack<W> luminance(const Window<W>& w, W c1) {
    const W scale = W(1) / (w.mean_p * w.mean_p + w.mean_t * w.mean_t + c1);
    const W value = w.mean_d * w.mean_d * scale;
    return {value, 2 * (w.mean_d - value * w.mean_p) * scale, 0, 0};
}

// 1 − c · s, with c · s = (2 cov(p, t) + C2)/(v_p + v_t + C2).
template <typename W>
__device__ __forceinline__ Lack<W> contrast_structure(const Window<W>& w, W c2) {
    const W scale = W(1) / (w.var_p + w.var_t + c2), value = w.var_d * scale;
    return {value, 0, scale, -value * scale};
}

// 1 − l · c · s.
template <typename W>
__device__ __forceinline__ Lack<W> whole(const Window<W>& w, W c1, W c2) {
    const Lack<W> l = luminance(w, c1), cs = contrast_structure(w, c2);
    const W left_l = 1 - l.value, left_cs = 1 - cs.value;
    return {l.value + left_l * cs.value, l.by_mean * left_cs, cs.by_var_d * left_l, cs.by_var_p * left_l};
}

// 1 − c, with c = (2 σ_p σ_t + C2)/(σ_p² + σ_t² + C2).
template <typename W>
__device__ __forceinline__ Lack<W> contrast(const Window<W>& w, W c2, W noise) {
    const W p = sqrt(w.var_p + noise), t = sqrt(w.var_t + noise);
    const W scale = W(1) / (p * p + t * t + c2), apart = p - t, value = apart * apart * scale;
    return {value, 0, 0, (apart - value * p) * scale / p};
}

// 1 − s, with s = (cov(p, t) + C3)/(σ_p σ_t + C3): σ_p σ_t − cov is half of v_d − (σ_p − σ_t)².
template <typename W>
__device__ __forceinline__ Lack<W> structure(const Window<W>& w, W c3, W noise) {
    const W p = sqrt(w.var_p + noise), t = sqrt(w.var_t + noise);
    const W scale = W(1) / (p * t + c3), apart = p - t;
    const W value = above_zero(W(0.5) * (w.var_d - apart * apart)) * scale;
    return {value, 0, W(0.5) * scale, W(0.5) * -(apart + value * t) * scale / p};
}

// σ = √(v + NOISE): without it σ has no gradient where an image is constant.
constexpr double NOISE = 1e-8;

template <typename W>
__device__ __forceinline__ Lack<W> lack(unsigned part, const Window<W>& w, W c1, W c2) {
    switch (part) {
        case ALL: return whole(w, c1, c2);
        case LUMINANCE: return luminance(w, c1);
        case CONTRAST: return contrast(w, c2, W(NOISE));
        case STRUCTURE: return structure(w, c2 / 2, W(NOISE));
        default: return contrast_structure(w, c2);
    }
}

// Blocks over tiles of windows and, along z, planes.
template <typename T>
struct Compare {
    const T* pred;
    const T* target;
    const Wide<T>* taps;
    // Of the target in each window.
    const Wide<T>* mean;
    const Wide<T>* variance;
    // The range of values; 1 if null.
    const double* range;
    // Derivatives by the window means of d, of d² and of d·t, one after the other.
    Wide<T>* slopes;
    // Sums of tiles, from `first` on.
    double* partial;
    unsigned height;
    unsigned width;
    unsigned n;
    unsigned part;
    unsigned first;
};

template <unsigned N, typename T>
__device__ void compare_by(const Compare<T>& a) {
    using W = Wide<T>;
    DYNAMIC_SHARED(W, room);
    __shared__ double scratch[WARP + 1];
    const Tile tile(a.n);
    W *d = room, *t = d + tile.size(), *mixed = t + tile.size(), *taps = mixed + 3 * HEIGHT * tile.pitch;
    const size_t plane = size_t(blockIdx.z) * a.height * a.width;
    for (unsigned i = threadIdx.x; i < tile.size(); i += blockDim.x) {
        const unsigned y = tile.row + i / tile.pitch, x = tile.column + i % tile.pitch;
        const size_t at = plane + size_t(y) * a.width + x;
        const bool inside = y < a.height && x < a.width;
        t[i] = inside ? wide(a.target[at]) : W(0);
        d[i] = inside ? wide(a.pred[at]) - t[i] : W(0);
    }
    for (unsigned i = threadIdx.x; i < a.n; i += blockDim.x) taps[i] = a.taps[i];
    __syncthreads();
    down<N, 3>(tile, a.n, taps, mixed, [&](unsigned at, W(&out)[3]) {
        out[0] = d[at];
        out[1] = d[at] * d[at];
        out[2] = d[at] * t[at];
    });
    __syncthreads();
    const double range = a.range ? *a.range : 1;
    const W c1 = W(0.01 * range * (0.01 * range)), c2 = W(0.03 * range * (0.03 * range));
    const unsigned rows = a.height + 1 - a.n, columns = a.width + 1 - a.n;
    const size_t windows = size_t(gridDim.z) * rows * columns;
    double sum = 0;
    for (unsigned i = threadIdx.x; i < HEIGHT * BREADTH; i += blockDim.x) {
        const unsigned y = i / BREADTH, x = i % BREADTH;
        if (tile.row + y >= rows || tile.column + x >= columns) continue;
        W means[3];
        along<N, 3>(tile, a.n, taps, mixed, y, x, means);
        const size_t at = (size_t(blockIdx.z) * rows + tile.row + y) * columns + tile.column + x;
        const W mean_t = a.mean[at], var_t = a.variance[at];
        const W var_d = above_zero(means[1] - means[0] * means[0]), covariance = means[2] - means[0] * mean_t;
        const W var_p = above_zero(var_t + covariance + covariance + var_d);
        const Lack<W> result = lack<W>(a.part, {means[0], mean_t + means[0], mean_t, var_d, var_p, var_t}, c1, c2);
        // The variance of d is the mean of d² less that of d squared, that of p is v_t + 2 cov(d, t) + v_d.
        const W square = result.by_var_d + result.by_var_p, product = 2 * result.by_var_p;
        a.slopes[at] = result.by_mean - 2 * means[0] * square - mean_t * product;
        a.slopes[windows + at] = square;
        a.slopes[2 * windows + at] = product;
        sum += result.value;
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) a.partial[a.first + (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}

template <typename T>
__device__ void compare(const Compare<T>& a) {
    if (a.n == USUAL)
        compare_by<USUAL>(a);
    else
        compare_by<0>(a);
}
EXPORT(compare, Compare, 256)

// The gradient by the prediction, given those by the means of the planes' windows. Blocks over tiles of pixels and, along z,
// planes.
template <typename T>
struct Spread {
    const T* pred;
    const T* target;
    const Wide<T>* taps;
    const Wide<T>* slopes;
    // The term's derivatives by the mean of every plane, those of this scale from `first` on, and the gradient by the term.
    const double* by_means;
    const double* grad;
    // The gradient by the prediction at half the size, or null.
    const T* by_halved;
    T* gradient;
    unsigned height;
    unsigned width;
    unsigned n;
    unsigned first;
};

template <unsigned N, typename T>
__device__ void spread_by(const Spread<T>& a) {
    using W = Wide<T>;
    DYNAMIC_SHARED(W, room);
    const Tile tile(a.n);
    W *slopes = room, *mixed = slopes + 3 * tile.size(), *taps = mixed + 3 * HEIGHT * tile.pitch;
    const unsigned rows = a.height + 1 - a.n, columns = a.width + 1 - a.n, margin = a.n - 1;
    const size_t windows = size_t(gridDim.z) * rows * columns;
    for (unsigned i = threadIdx.x; i < tile.size(); i += blockDim.x) {
        // What is left of the first window, or above it, wraps around to beyond the last.
        const unsigned y = tile.row + i / tile.pitch - margin, x = tile.column + i % tile.pitch - margin;
        const size_t at = (size_t(blockIdx.z) * rows + y) * columns + x;
        const bool inside = y < rows && x < columns;
        for (unsigned k = 0; k < 3; ++k) slopes[k * tile.size() + i] = inside ? a.slopes[k * windows + at] : W(0);
    }
    for (unsigned i = threadIdx.x; i < a.n; i += blockDim.x) taps[i] = a.taps[i];
    __syncthreads();
    down<N, 3>(tile, a.n, taps, mixed, [&](unsigned at, W(&out)[3]) {
        for (unsigned k = 0; k < 3; ++k) out[k] = slopes[k * tile.size() + at];
    });
    __syncthreads();
    const W weight = W(a.by_means[a.first + blockIdx.z] * *a.grad / (double(rows) * columns));
    for (unsigned i = threadIdx.x; i < HEIGHT * BREADTH; i += blockDim.x) {
        const unsigned y = tile.row + i / BREADTH, x = tile.column + i % BREADTH;
        if (y >= a.height || x >= a.width) continue;
        // The taps are symmetric.
        W sums[3];
        along<N, 3>(tile, a.n, taps, mixed, i / BREADTH, i % BREADTH, sums);
        const size_t at = (size_t(blockIdx.z) * a.height + y) * a.width + x;
        const W t = wide(a.target[at]), d = wide(a.pred[at]) - t;
        W gradient = (sums[0] + 2 * d * sums[1] + t * sums[2]) * weight;
        // An odd last row or column is in no block of the half.
        if (a.by_halved && y / 2 < a.height / 2 && x / 2 < a.width / 2) {
            const size_t row = size_t(blockIdx.z) * (a.height / 2) + y / 2;
            gradient += W(0.25) * wide(a.by_halved[row * (a.width / 2) + x / 2]);
        }
        a.gradient[at] = narrow<T>(gradient);
    }
}

template <typename T>
__device__ void spread(const Spread<T>& a) {
    if (a.n == USUAL)
        spread_by<USUAL>(a);
    else
        spread_by<0>(a);
}
EXPORT(spread, Spread, 256)

// The means of all 2x2 blocks of planes; an odd last row or column is left out.
template <typename T>
struct Halve {
    const T* x;
    T* y;
    unsigned n;
    unsigned height;
    unsigned width;
};

template <typename T>
__device__ void halve(const Halve<T>& a) {
    const unsigned rows = a.height / 2, columns = a.width / 2;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned line = unsigned(i) / columns, column = unsigned(i) % columns;
        const T* x = a.x + (size_t(line / rows) * a.height + 2 * (line % rows)) * a.width + 2 * column;
        const Wide<T> top = wide(x[0]) + wide(x[1]), bottom = wide(x[a.width]) + wide(x[a.width + 1]);
        a.y[i] = narrow<T>((top + bottom) * Wide<T>(0.25));
    }
}
EXPORT_INDEPENDENT(halve, Halve, 256)

// How many values of a block's chunk are above 128, and how many below -0.5.
template <typename T>
struct Reach {
    const T* x;
    unsigned* parts;
    unsigned n;
    unsigned chunk;
};

template <typename T>
__device__ void reach(const Reach<T>& a) {
    __shared__ unsigned scratch[WARP + 1];
    const size_t first = size_t(blockIdx.x) * a.chunk, last = min(first + a.chunk, size_t(a.n));
    unsigned high = 0, low = 0;
    for (size_t i = first + threadIdx.x; i < last; i += blockDim.x) {
        const Wide<T> x = wide(a.x[i]);
        high += x > 128;
        low += x < Wide<T>(-0.5);
    }
    high = block_sum(high, scratch);
    low = block_sum(low, scratch);
    if (threadIdx.x == 0) {
        a.parts[2 * blockIdx.x] = high;
        a.parts[2 * blockIdx.x + 1] = low;
    }
}
EXPORT(reach, Reach, 256)

// The range that values which reach so far are taken to have: 255 or 1, and 1 more if they reach below zero. T is not looked at.
template <typename T>
struct Guess {
    const unsigned* parts;
    double* range;
    unsigned count;
};

template <typename T>
__device__ void guess(const Guess<T>& a) {
    __shared__ unsigned scratch[WARP + 1];
    unsigned high = 0, low = 0;
    for (unsigned i = threadIdx.x; i < a.count; i += blockDim.x) {
        high += a.parts[2 * i] > 0;
        low += a.parts[2 * i + 1] > 0;
    }
    high = block_sum(high, scratch);
    low = block_sum(low, scratch);
    if (threadIdx.x == 0) *a.range = (high ? 255 : 1) + (low ? 1 : 0);
}
EXPORT(guess, Guess, 256)

// The mean of every plane at every scale: the sums of its tiles over its windows. Blocks over planes along x, scales along y. T
// is not looked at.
template <typename T>
struct PlaneMeans {
    const double* partial;
    double* means;
    unsigned tiles[MOST_SCALES];
    double windows[MOST_SCALES];
};

template <typename T>
__device__ void plane_means(const PlaneMeans<T>& a) {
    __shared__ double scratch[WARP + 1];
    size_t first = 0;
    unsigned tiles = 0;
    double windows = 1;
#pragma unroll
    for (unsigned scale = 0; scale < MOST_SCALES; ++scale) {
        const unsigned of_scale = a.tiles[scale];
        const double windows_of_scale = a.windows[scale];
        first += scale < blockIdx.y ? size_t(gridDim.x) * of_scale : 0;
        tiles = scale == blockIdx.y ? of_scale : tiles;
        windows = scale == blockIdx.y ? windows_of_scale : windows;
    }
    const double* partial = a.partial + first + size_t(blockIdx.x) * tiles;
    double sum = 0;
    for (unsigned i = threadIdx.x; i < tiles; i += blockDim.x) sum += partial[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) a.means[blockIdx.y * gridDim.x + blockIdx.x] = sum / windows;
}
EXPORT(plane_means, PlaneMeans, 256)

enum Formula : unsigned { MEAN, PRODUCT_OF_PLANE, PRODUCT_OF_MEANS };

// The term that the means make, and its derivatives by them. One block. T is not looked at.
template <typename T>
struct Combine {
    const double* means;
    double* value;
    double* by_means;
    unsigned planes;
    unsigned formula;
    // The weight of the mean of a single scale, or the exponents of the scales.
    double weights[MOST_SCALES];
};

// `weight` times the mean.
template <typename T>
__device__ double mean_of_planes(const Combine<T>& a, double* scratch) {
    const double share = a.weights[0] / a.planes;
    double sum = 0;
    for (unsigned i = threadIdx.x; i < a.planes; i += blockDim.x) {
        sum += a.means[i];
        a.by_means[i] = share;
    }
    return share * block_sum(sum, scratch);
}

// Multi-scale SSIM: the mean over planes of 1 − ∏ (1 − lack)^weight, by logarithms, which keep the digits of a product near 1.
template <typename T>
__device__ double product_of_plane(const Combine<T>& a, double* scratch) {
    double sum = 0;
    for (unsigned plane = threadIdx.x; plane < a.planes; plane += blockDim.x) {
        double log = 0;
#pragma unroll
        for (unsigned scale = 0; scale < MOST_SCALES; ++scale) {
            const double lack = a.means[scale * a.planes + plane];
            log += a.weights[scale] * (lack > 1 ? -INFINITY : log1p(-lack));
        }
        sum -= expm1(log);
        const double product = exp(log);
#pragma unroll
        for (unsigned scale = 0; scale < MOST_SCALES; ++scale) {
            const unsigned at = scale * a.planes + plane;
            // A product that is 0 has gradient 0.
            a.by_means[at] = product > 0 ? product * a.weights[scale] / ((1 - a.means[at]) * a.planes) : 0;
        }
    }
    return block_sum(sum, scratch) / a.planes;
}

// As published: 1 − ∏ ((2 − lack)/2)^weight of the means over all planes.
template <typename T>
__device__ double product_of_means(const Combine<T>& a, double* scratch) {
    double log = 0, lacks[MOST_SCALES];
#pragma unroll
    for (unsigned scale = 0; scale < MOST_SCALES; ++scale) {
        double sum = 0;
        for (unsigned i = threadIdx.x; i < a.planes; i += blockDim.x) sum += a.means[scale * a.planes + i];
        lacks[scale] = block_sum(sum, scratch) / a.planes;
        log += a.weights[scale] * log1p(-lacks[scale] / 2);
    }
#pragma unroll
    for (unsigned scale = 0; scale < MOST_SCALES; ++scale) {
        const double slope = exp(log) * a.weights[scale] / (2 - lacks[scale]) / a.planes;
        for (unsigned i = threadIdx.x; i < a.planes; i += blockDim.x) a.by_means[scale * a.planes + i] = slope;
    }
    return -expm1(log);
}

template <typename T>
__device__ void combine(const Combine<T>& a) {
    __shared__ double scratch[WARP + 1];
    const double value = a.formula == MEAN ? mean_of_planes(a, scratch)
                         : a.formula == PRODUCT_OF_PLANE ? product_of_plane(a, scratch)
                                                         : product_of_means(a, scratch);
    if (threadIdx.x == 0) *a.value = value;
}
EXPORT(combine, Combine, 256)

// Planes with a border of zeros or of the plane mirrored about its outermost pixels.
template <typename T>
struct Border {
    const T* x;
    T* y;
    unsigned n;
    // Of the plane without border.
    unsigned height;
    unsigned width;
    unsigned border;
    unsigned mirrored;
};

// Which of `size` places lies at place i of the row with border; `size` for none.
__device__ __forceinline__ unsigned source(unsigned i, unsigned size, unsigned border, unsigned mirrored) {
    if (i >= border && i < border + size) return i - border;
    if (!mirrored) return size;
    return i < border ? border - i : 2 * (size - 1) - (i - border);
}

template <typename T>
__device__ void enlarge(const Border<T>& a) {
    const unsigned tall = a.height + 2 * a.border, broad = a.width + 2 * a.border;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned line = unsigned(i) / broad;
        const unsigned y = source(line % tall, a.height, a.border, a.mirrored);
        const unsigned x = source(unsigned(i) % broad, a.width, a.border, a.mirrored);
        const bool inside = y < a.height && x < a.width;
        const size_t at = (size_t(line / tall) * a.height + y) * a.width + x;
        a.y[i] = inside ? a.x[at] : narrow<T>(Wide<T>(0));
    }
}
EXPORT_INDEPENDENT(enlarge, Border, 256)

// The gradient of the plane: x is that of the plane with border. Each place is repeated at most three times each way.
template <typename T>
__device__ void fold(const Border<T>& a) {
    const unsigned tall = a.height + 2 * a.border, broad = a.width + 2 * a.border;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned line = unsigned(i) / a.width, row = line % a.height, column = unsigned(i) % a.width;
        const T* plane = a.x + size_t(line / a.height) * tall * broad;
        Wide<T> sum = 0;
        for (unsigned v = 0; v < 3; ++v) {
            const unsigned y = v == 0 ? a.border + row : v == 1 ? a.border - row : a.border + 2 * (a.height - 1) - row;
            if (v > 0 && (y >= tall || source(y, a.height, a.border, a.mirrored) != row || y == a.border + row)) continue;
            for (unsigned u = 0; u < 3; ++u) {
                const unsigned x =
                    u == 0 ? a.border + column : u == 1 ? a.border - column : a.border + 2 * (a.width - 1) - column;
                if (u > 0 && (x >= broad || source(x, a.width, a.border, a.mirrored) != column || x == a.border + column))
                    continue;
                sum += wide(plane[size_t(y) * broad + x]);
            }
        }
        a.y[i] = narrow<T>(sum);
    }
}
EXPORT_INDEPENDENT(fold, Border, 256)

KERNELS(structure)
