// Histograms with soft bins, and how far two of them are apart.
//
// `count` reads 4 bytes an f32 pixel and adds twice or three times four numbers to shared memory, which takes longer: by
// integers, so that the order does not matter. `count_gradient` moves 8 bytes a pixel. The others work on bins alone.
#include "sums.cuh"

// Bins that a value may fall in: those around it and one more on either side.
constexpr unsigned NEAR = 4;

// The bins of a channel: a value x adds max(0, w − |x − c|)/w to each bin with centre c. One bin more comes before the first
// and two after the last: in a line infinitely far away, on a circle those of the other end. Behind the centres are how many
// bins lie from 0 to 1, w and 1/w.
struct Bins {
    const double* centres;
    unsigned bins, slots;
    bool circular;
    double gaps, width, scale;
    // Channel `channel` of three; `circles` has a bit for each that is a circle.
    __device__ Bins(const double* all, unsigned bins, unsigned circles, unsigned channel)
        : centres(all + channel * (bins + NEAR + 2)),
          bins(bins),
          slots(bins + NEAR - 1),
          circular(circles >> channel & 1),
          gaps(centres[slots]),
          width(centres[slots + 1]),
          scale(centres[slots + 2]) {}

    // The first of the slots near x, and the distances of x from them.
    __device__ __forceinline__ unsigned near(double x, double (&distances)[NEAR]) const {
        if (circular) x -= floor(x);
        const double at = x * gaps;
        // What is below 0, and NaN, is at the first.
        const unsigned start = at >= bins - 1 ? bins - 1 : at > 0 ? unsigned(at) : 0;
#pragma unroll
        for (unsigned i = 0; i < NEAR; ++i) distances[i] = x - centres[start + i];
        return start;
    }
};

// Shares are counted in units of 2^-40, in two halves, for which the GPU has instructions; so many fit into them.
constexpr unsigned HALF = 20, AT_ONCE = 2048;
constexpr double UNITS = double(1ull << 2 * HALF);

// Blocks over chunks of a plane along x, and over planes, whose channels are three, along y. Shared memory: 16 bytes a slot.
template <typename T>
struct Count {
    const T* x;
    const double* centres;
    // For each block the shares in all slots.
    double* partial;
    unsigned plane;
    unsigned chunk;
    unsigned bins;
    unsigned circles;
};

template <typename T>
__device__ void count(const Count<T>& a) {
    DYNAMIC_SHARED(unsigned long long, totals);
    __shared__ unsigned odd;
    const Bins bins(a.centres, a.bins, a.circles, blockIdx.y % 3);
    unsigned *low = reinterpret_cast<unsigned*>(totals + bins.slots), *high = low + bins.slots;
    for (unsigned i = threadIdx.x; i < bins.slots; i += blockDim.x) totals[i] = low[i] = high[i] = 0;
    if (threadIdx.x == 0) odd = 0;
    __syncthreads();
    const T* x = a.x + size_t(blockIdx.y) * a.plane;
    const unsigned first = blockIdx.x * a.chunk, last = min(first + a.chunk, a.plane);
    const double scale = UNITS * bins.scale;
    for (unsigned start = first; start < last; start += AT_ONCE) {
        const unsigned end = min(start + AT_ONCE, last);
        for (unsigned i = start + threadIdx.x; i < end; i += blockDim.x) {
            double distances[NEAR];
            const unsigned slot = bins.near(wide(x[i]), distances);
#pragma unroll
            for (unsigned j = 0; j < NEAR; ++j) {
                const double share = bins.width - fabs(distances[j]);
                if (share != share) atomicAdd(&odd, 1u);
                if (!(share > 0)) continue;
                const unsigned long long units = static_cast<unsigned long long>(share * scale + 0.5);
                atomicAdd(low + slot + j, unsigned(units & ((1u << HALF) - 1)));
                atomicAdd(high + slot + j, unsigned(units >> HALF));
            }
        }
        __syncthreads();
        for (unsigned i = threadIdx.x; i < bins.slots; i += blockDim.x) {
            totals[i] += (static_cast<unsigned long long>(high[i]) << HALF) + low[i];
            low[i] = high[i] = 0;
        }
        __syncthreads();
    }
    double* partial = a.partial + (size_t(blockIdx.y) * gridDim.x + blockIdx.x) * bins.slots;
    for (unsigned i = threadIdx.x; i < bins.slots; i += blockDim.x) {
        // What is not a number stays so.
        partial[i] = odd && i < NEAR ? NAN : double(totals[i]) / UNITS;
    }
}
EXPORT(count, Count, 256)

// The shares of all pixels, with the slots beyond the ends in their bins. T is not looked at.
template <typename T>
struct Join {
    const double* partial;
    double* shares;
    unsigned n;
    unsigned chunks;
    unsigned plane;
    unsigned bins;
    unsigned circles;
};

template <typename T>
__device__ void join(const Join<T>& a) {
    const unsigned slots = a.bins + NEAR - 1;
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned plane = unsigned(i) / a.bins, bin = unsigned(i) % a.bins;
        const bool circular = a.circles >> plane % 3 & 1;
        double sum = 0;
        for (unsigned chunk = 0; chunk < a.chunks; ++chunk) {
            const double* partial = a.partial + (size_t(plane) * a.chunks + chunk) * slots;
            sum += partial[bin + 1];
            if (!circular) continue;
            if (bin == a.bins - 1) sum += partial[0];
            if (bin == 0) sum += partial[a.bins + 1];
            if (bin == 1) sum += partial[a.bins + 2];
        }
        a.shares[i] = sum / a.plane;
    }
}
EXPORT_INDEPENDENT(join, Join, 256)

template <typename T>
struct CountGradient {
    const T* x;
    const double* centres;
    const double* by_shares;
    T* dx;
    unsigned n;
    unsigned plane;
    unsigned bins;
    unsigned circles;
};

template <typename T>
__device__ void count_gradient(const CountGradient<T>& a) {
    for (size_t i = thread_index(); i < a.n; i += thread_count()) {
        const unsigned plane = unsigned(i) / a.plane;
        const Bins bins(a.centres, a.bins, a.circles, plane % 3);
        const double* by_shares = a.by_shares + size_t(plane) * a.bins;
        double distances[NEAR], sum = 0;
        const unsigned start = bins.near(wide(a.x[i]), distances);
#pragma unroll
        for (unsigned j = 0; j < NEAR; ++j) {
            if (!(fabs(distances[j]) < bins.width)) continue;
            const unsigned slot = start + j;
            const bool inside = slot >= 1 && slot <= a.bins;
            const double by = inside || bins.circular ? by_shares[(slot + a.bins - 1) % a.bins] : 0;
            sum += (double(distances[j] < 0) - double(distances[j] > 0)) * by;
        }
        a.dx[i] = narrow<T>(Wide<T>(sum * bins.scale / a.plane));
    }
}
EXPORT_INDEPENDENT(count_gradient, CountGradient, 256)

enum Distance : unsigned { CDF_L1, KL, CHI2, WASSERSTEIN };

// Added to every bin's share before shares are compared by their quotient.
constexpr double KL_FLOOR = 1e-5;
// Keeps the quotient of empty bins finite.
constexpr double CHI2_EPS = 1e-10;
// Where less is in all bins together there is nothing to move.
constexpr double NO_MASS = 1e-12;

// The distance of each histogram p from t, with its derivatives by p. One block a histogram. Shared memory: two doubles a bin
// and one a thread. T is not looked at.
template <typename T>
struct Divergence {
    const double* p;
    const double* t;
    double* values;
    double* slopes;
    unsigned bins;
    unsigned circles;
    unsigned kind;
};

// What a block knows of its histogram.
struct Histogram {
    const double *p, *t;
    double* slopes;
    unsigned bins;
    bool circular;
    double *d, *reversed, *segments, *scratch;

    template <typename F>
    __device__ double sum(F value) const {
        double total = 0;
        for (unsigned i = threadIdx.x; i < bins; i += blockDim.x) total += value(i);
        return block_sum(total, scratch);
    }
};

// Every number becomes the sum of it and those before it.
__device__ void accumulate(const Histogram& h, double* numbers) {
    const unsigned each = (h.bins + blockDim.x - 1) / blockDim.x;
    const unsigned first = min(threadIdx.x * each, h.bins), last = min(first + each, h.bins);
    double sum = 0;
    for (unsigned i = first; i < last; ++i) sum += numbers[i];
    h.segments[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        double before = 0;
        for (unsigned i = 0; i < blockDim.x; ++i) {
            const double segment = h.segments[i];
            h.segments[i] = before;
            before += segment;
        }
    }
    __syncthreads();
    sum = h.segments[threadIdx.x];
    for (unsigned i = first; i < last; ++i) {
        sum += numbers[i];
        numbers[i] = sum;
    }
    __syncthreads();
}

// The median of h.d, by how many are smaller than each.
__device__ double median(const Histogram& h) {
    __shared__ double middle[2];
    if (threadIdx.x < 2) middle[threadIdx.x] = NAN;
    __syncthreads();
    for (unsigned i = threadIdx.x; i < h.bins; i += blockDim.x) {
        const double value = h.d[i];
        unsigned rank = 0;
        for (unsigned j = 0; j < h.bins; ++j) rank += h.d[j] < value || (h.d[j] == value && j < i);
        if (rank == h.bins / 2) middle[0] = value;
        if (rank == (h.bins - 1) / 2) middle[1] = value;
    }
    __syncthreads();
    return (middle[0] + middle[1]) / 2;
}

// A share of the mass. By a quotient: a difference of products would not be 0 where both are equal.
__device__ double normalised(double x, double mass) { return mass < NO_MASS ? 0 : x / mass; }

// Σ |D|, where D are the cumulative sums of p and t, each of its mass, apart; around a circle less their median, which
// leaves the least sum. `reversed` becomes its derivatives by normalised p, the last first; that of the median is 0 in all.
__device__ double cumulative(const Histogram& h, double p_mass, double t_mass) {
    for (unsigned i = threadIdx.x; i < h.bins; i += blockDim.x) h.d[i] = normalised(h.p[i], p_mass) - normalised(h.t[i], t_mass);
    __syncthreads();
    accumulate(h, h.d);
    const double middle = h.circular ? median(h) : 0;
    const double total = h.sum([&](unsigned i) {
        const double d = h.d[i] - middle;
        h.reversed[h.bins - 1 - i] = double(d > 0) - double(d < 0);
        return fabs(d);
    });
    accumulate(h, h.reversed);
    return total;
}

__device__ double cdf_l1(const Histogram& h) {
    const double total = cumulative(h, 1, 1);
    for (unsigned i = threadIdx.x; i < h.bins; i += blockDim.x) h.slopes[i] = h.reversed[h.bins - 1 - i] / h.bins;
    return total / h.bins;
}

__device__ double kl(const Histogram& h) {
    const double p_mass = h.sum([&](unsigned i) { return h.p[i] + KL_FLOOR; });
    const double t_mass = h.sum([&](unsigned i) { return h.t[i] + KL_FLOOR; });
    return h.sum([&](unsigned i) {
        const double p = (h.p[i] + KL_FLOOR) / p_mass, t = (h.t[i] + KL_FLOOR) / t_mass;
        h.slopes[i] = 1 / p_mass - t / (h.p[i] + KL_FLOOR);
        // Of two sums to 1, Σ t ln(t/p) is Σ (t ln(t/p) + p − t), of which no part is negative but by rounding.
        const double share = t * log(t / p) + p - t;
        return share < 0 ? 0.0 : share;
    });
}

__device__ double chi2(const Histogram& h) {
    return h.sum([&](unsigned i) {
        const double d = h.p[i] - h.t[i], share = d / (h.p[i] + h.t[i] + CHI2_EPS);
        h.slopes[i] = share - share * share / 2;
        return d * share / 2;
    });
}

__device__ double wasserstein(const Histogram& h) {
    const double p_mass = h.sum([&](unsigned i) { return h.p[i]; });
    const double t_mass = h.sum([&](unsigned i) { return h.t[i]; });
    const double spacing = 1.0 / (h.circular ? h.bins : h.bins - 1);
    const double total = cumulative(h, p_mass, t_mass);
    const double mean = h.sum([&](unsigned i) { return h.reversed[h.bins - 1 - i] * normalised(h.p[i], p_mass); });
    for (unsigned i = threadIdx.x; i < h.bins; i += blockDim.x)
        h.slopes[i] = spacing * normalised(h.reversed[h.bins - 1 - i] - mean, p_mass);
    return spacing * total;
}

template <typename T>
__device__ void divergence(const Divergence<T>& a) {
    DYNAMIC_SHARED(double, room);
    __shared__ double scratch[WARP + 1];
    const size_t start = size_t(blockIdx.x) * a.bins;
    const bool circular = a.circles >> blockIdx.x % 3 & 1;
    const Histogram h{a.p + start, a.t + start, a.slopes + start, a.bins, circular,
                      room,        room + a.bins, room + 2 * a.bins, scratch};
    const double value = a.kind == CDF_L1 ? cdf_l1(h) : a.kind == KL ? kl(h) : a.kind == CHI2 ? chi2(h) : wasserstein(h);
    if (threadIdx.x == 0) a.values[blockIdx.x] = value;
}
EXPORT(divergence, Divergence, 256)

KERNELS(histogram)
