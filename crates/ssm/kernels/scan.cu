// Selective scans, forward and backward: of the four directions over a token map, or of rows.
//
// A block takes one sequence (an image in one direction) and a tile of 32 channels through chunks of 32 steps: G = 4
// threads a channel, each with 4 of its 16 states in registers (G = 16 and 8 channels for up to 64 states; states that
// do not exist are zeros). What a chunk needs of the map is copied to shared memory while the chunk before is computed;
// all channels of the tile share low-rank step sizes, input and output weights. The map is read in place in the order
// of each direction; blocks of all directions run at the same time, so that the L2 cache serves most of the four reads.
// Each direction has its own part of the output, which a second kernel adds up: the same bits each time.
//
// Sequences of few channels and images are cut into parts: a first pass scans each from zero states, keeping only its
// last states and the sum of its step sizes, a small kernel chains them (the decay over a part is one exponential of
// that sum), and the real pass starts every part from its states. It computes nearly all twice, so the host asks for it
// only where four parts and more fit a GPU: for one or two images, not for a batch of eight.
//
// The forward pass keeps the states before each chunk, 1/32 of all. The backward pass goes through the chunks from the
// last: it runs forward through one to have the states at every 8th step, and then, eight steps at a time from the end,
// once more with decays and states in registers, and back. Sums over channels (of the gradients of weights and low-rank
// steps) are made within the tile, written as parts and added up by a second kernel; those over images likewise. No
// atomics.
//
// Counts for a map by step, channel and direction, N states, R ranks, f32:
//   forward   N + 1 exponentials, the last for softplus; 4 N + R + 24 multiplications and additions;
//             bytes: x 4, part 4, adding up 5, projections (R + 2 N) / 8, kept states N / 8
//   backward  1.75 N + 2 exponentials and quotients; 16 N + 3 R + 50 multiplications and additions;
//             bytes: x and dy 8, part 4, adding up 5, kept states N / 8, projections and the parts of their gradients,
//             written and read, 3 (R + 2 N) / 8
// For B = 8, H = W = 64, D = 256, N = 16, R = 8, which are 33.6e6 steps, on an H200 (4.8 TB/s; 4.2e12 exponentials/s;
// 33e12 multiply-adds/s; four warps' instructions a cycle and multiprocessor, counted in the code for sm_90: 53 a
// thread and step forward, 178 backward), in ms:
//             bytes                      exponentials   multiply-adds   instructions
//   forward   0.14; 0.09 with one read   0.14           0.10            0.21
//   backward  0.24                       0.24           0.33            0.71
// So instructions are what bounds both: forward 26 of the 53 are the recurrence itself, which the exponentials bound;
// backward 93 of the 178 are the way back through the states, a third of them to add up the gradients of the weights
// over channels. Not measured on a GPU yet.
#include "kernel.cuh"

// Threads of a block. Emulated ones are dear; two warps show what several do.
#ifdef EMULATED
constexpr unsigned THREADS = 64;
#else
constexpr unsigned THREADS = 128;
#endif
constexpr unsigned WARPS = THREADS / WARP;
// States of a thread.
constexpr unsigned STATES = 4;
// The most steps of a chunk.
constexpr unsigned MOST_STEPS = 32;
// Steps that are unrolled, and that the backward pass has the decays and states of in registers.
template <typename W>
constexpr unsigned TOGETHER = 32 / sizeof(W);
constexpr double LOG2_E = 1.4426950408889634, LN_2 = 0.6931471805599453;

struct Sizes {
    unsigned batch, groups, channels, rank, states, height, width;
    // Whether the sequences are directions over a token map; else rows, of `width` steps.
    unsigned map;
    // A multiple of 8.
    unsigned steps_of_chunk, chunks_of_part;
    // Bytes of shared memory.
    unsigned shared;
};

template <typename T>
struct Inputs {
    // (B, H, W, D), or u (B, K·D, L).
    const T* x;
    // (B, H, W, K (R + 2N)), of a map.
    const T* projected;
    // (B, K·D, L), (B, K, N, L) and (B, K, N, L), of rows.
    const T* delta;
    const T* b;
    const T* c;
    // Weights (K·D, R), biases (K·D), a (K·D, N), d (K·D).
    const Wide<T>* parameters;
};

template <typename T>
struct Forward {
    Inputs<T> in;
    // States before each part (B·K, parts, D, N), or none for a single part from zeros.
    const Wide<T>* starts;
    // (K, B, H, W, D), or (B, K·D, L).
    Wide<T>* y;
    // States before each chunk (B·K, chunks, D, N), or none.
    Wide<T>* kept;
    // The first pass instead writes each part's last states, and the sum of its step sizes (B·K, parts, D).
    Wide<T>* ends;
    Wide<T>* sums;
    Sizes sizes;
};

template <typename T>
struct Backward {
    Inputs<T> in;
    const Wide<T>* kept;
    const T* dy;
    // (K, B, H, W, D), or (B, K·D, L).
    Wide<T>* dx;
    // (tiles, B, H, W, K (R + 2N)), of a map.
    Wide<T>* dprojected;
    // (B, K·D, L), (tiles, B, K, N, L) and (tiles, B, K, N, L), of rows.
    Wide<T>* ddelta;
    Wide<T>* db;
    Wide<T>* dc;
    // (B, as the parameters).
    Wide<T>* dparameters;
    Sizes sizes;
};

template <typename V>
struct alignas(2 * sizeof(V)) Two {
    V v[2];
};
template <typename V>
struct alignas(4 * sizeof(V) < 16 ? 4 * sizeof(V) : 16) Four {
    V v[4];
};

__device__ __forceinline__ float power_of_two(float x) { return exp2f_approx(x); }
__device__ __forceinline__ double power_of_two(double x) { return exp2(x); }

// ln(1 + x) for 0 <= x <= 1; in float a polynomial of degree 8 with the least relative error, 2e-7, which neither
// log1pf's branches nor the fast logarithm's absolute error have.
__device__ __forceinline__ double log_of_one_and(double x) { return log1p(x); }
__device__ __forceinline__ float log_of_one_and(float x) {
    constexpr float COEFFICIENTS[] = {-0.029505244f, 0.07822596f,  -0.13663247f, 0.19106008f,
                                      -0.24842982f,  0.33319098f, -0.49999493f, 0.99999994f};
    float sum = 0.0052326946f;
#pragma unroll
    for (float c : COEFFICIENTS) sum = fma(sum, x, c);
    return sum * x;
}

__device__ __forceinline__ double quotient(double x, double y) { return x / y; }
__device__ __forceinline__ float quotient(float x, float y) { return __fdividef(x, y); }

// softplus(x) = max(x, 0) + ln(1 + e^-|x|), and its slope, the logistic function.
template <typename W>
struct Softplus {
    W value, slope;
    __device__ __forceinline__ explicit Softplus(W x) {
        const W e = power_of_two(-(x < 0 ? -x : x) * W(LOG2_E));
        value = (x < 0 ? W(0) : x) + log_of_one_and(e);
        slope = quotient(x < 0 ? e : W(1), W(1) + e);
    }
};

// Copies to shared memory that go on while others compute.
#ifdef EMULATED
template <unsigned BYTES>
void copy_later(void* to, const void* from) {
    std::memcpy(to, from, BYTES);
}
inline void wait_for_copies() {}
#else
template <unsigned BYTES>
__device__ __forceinline__ void copy_later(void* to, const void* from) {
    const unsigned at = unsigned(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(at), "l"(from), "n"(BYTES) : "memory");
}
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
#endif

// The largest pieces that rows of n elements can be copied in, in bytes; 0 for single elements.
template <typename T>
__device__ __forceinline__ unsigned piece_of(const T* from, unsigned pitch, unsigned n) {
    const size_t odd = size_t(from) | pitch * sizeof(T) | n * sizeof(T);
    return odd % 16 == 0 ? 16 : odd % 4 == 0 ? 4 : 0;
}

// Lane `lane` of `lanes` copies its share of n elements. `to` is aligned.
template <typename T>
__device__ __forceinline__ void copy_row(T* to, const T* from, unsigned n, unsigned piece, unsigned lane,
                                         unsigned lanes) {
    const unsigned bytes = n * sizeof(T);
    char* to_bytes = reinterpret_cast<char*>(to);
    const char* from_bytes = reinterpret_cast<const char*>(from);
    if (piece == 16) {
#pragma unroll 2
        for (unsigned i = 16 * lane; i < bytes; i += 16 * lanes) copy_later<16>(to_bytes + i, from_bytes + i);
    } else if (piece == 4) {
#pragma unroll 1
        for (unsigned i = 4 * lane; i < bytes; i += 4 * lanes) copy_later<4>(to_bytes + i, from_bytes + i);
    } else {
#pragma unroll 1
        for (unsigned i = lane; i < n; i += lanes) to[i] = from[i];
    }
}

// Hands out the block's shared memory.
struct Room {
    unsigned char* start;
    unsigned used = 0;
    template <typename V>
    __device__ __forceinline__ V* take(unsigned count) {
        V* here = reinterpret_cast<V*>(start + used);
        used += (count * unsigned(sizeof(V)) + 15) / 16 * 16;
        return here;
    }
    // Whether the host counted the same.
    __device__ __forceinline__ void check(unsigned expected) const {
#ifdef EMULATED
        if (used != expected) emulation::fail("the host asks for another amount of shared memory than is used");
#endif
    }
};

// A chunk of a map as it was read.
template <typename T>
struct Raw {
    // (steps, channels of the tile)
    T* x;
    T* dy;
    // (steps, R + 2N)
    T* columns;
    // By step.
    unsigned* pixels;
};

// A sequence and a tile of its channels.
template <typename T, unsigned G>
struct Tile {
    using W = Wide<T>;
    static constexpr unsigned CHANNELS = THREADS / G;
    // States with those that do not exist.
    static constexpr unsigned PADDED = STATES * G;
    // Of what is kept by step and channel: written by rows and by columns without bank conflicts.
    static constexpr unsigned PITCH = CHANNELS + 1;

    const Inputs<T>& in;
    const Sizes& s;
    unsigned length, chunks, tile, sequence, image, group;
    // The tile's first channel, and how many there are.
    unsigned first, channels;
    // Elements of a pixel's projections of one group, and the pitch of `Raw::columns`.
    unsigned columns, column_pitch;
    // This thread's channel of the tile and first state.
    unsigned channel, state;
    // Where the tile begins in x and what is laid out like it, and the group in the projections.
    size_t origin, projected_origin;
    const T *x, *dy, *projected;
    unsigned x_piece, dy_piece, projected_piece;
    // Two chunks as they were read.
    unsigned char* raw_start;
    unsigned raw_bytes;
    // (channels, R), with an odd pitch.
    W* weights;
    unsigned weight_pitch;
    // (channels)
    W* biases;
    W* ds;
    // (steps, PADDED)
    W* b;
    W* c;

    __device__ __forceinline__ Tile(const Inputs<T>& inputs, const T* gradient, const Sizes& sizes, Room& room)
        : in(inputs), s(sizes) {
        length = s.height * s.width;
        chunks = (length + s.steps_of_chunk - 1) / s.steps_of_chunk;
        const unsigned tiles = (s.channels + CHANNELS - 1) / CHANNELS;
        tile = blockIdx.x % tiles;
        sequence = blockIdx.x / tiles;
        image = sequence / s.groups;
        group = sequence % s.groups;
        first = tile * CHANNELS;
        channels = min(CHANNELS, s.channels - first);
        columns = s.rank + 2 * s.states;
        constexpr unsigned EVEN = 16 / sizeof(T);
        column_pitch = (columns + EVEN - 1) / EVEN * EVEN;
        channel = threadIdx.x / G;
        state = threadIdx.x % G * STATES;
        const unsigned steps = s.steps_of_chunk;
        origin = s.map ? size_t(image) * length * s.channels + first
                       : (size_t(sequence) * s.channels + first) * length;
        projected_origin = (size_t(image) * length * s.groups + group) * columns;
        x = in.x + origin;
        dy = gradient ? gradient + origin : nullptr;
        projected = in.projected + projected_origin;
        x_piece = piece_of(x, s.channels, channels);
        dy_piece = piece_of(dy, s.channels, channels);
        projected_piece = piece_of(projected, s.groups * columns, columns);
        raw_start = room.start;
        raw_bytes = 0;
        if (s.map) {
            lay_out(room);
            raw_bytes = room.used;
            lay_out(room);
        }
        weight_pitch = s.rank | 1;
        weights = room.take<W>(CHANNELS * weight_pitch);
        biases = room.take<W>(CHANNELS);
        ds = room.take<W>(CHANNELS);
        b = room.take<W>(steps * PADDED);
        c = room.take<W>(steps * PADDED);
#pragma unroll 1
        for (unsigned i = threadIdx.x; i < CHANNELS * s.rank; i += THREADS) {
            const unsigned channel = i / s.rank, r = i % s.rank;
            weights[channel * weight_pitch + r] =
                channel < channels ? in.parameters[weight_at(channel) + r] : W(0);
        }
#pragma unroll 1
        for (unsigned i = threadIdx.x; i < CHANNELS; i += THREADS) {
            biases[i] = i < channels ? in.parameters[bias_at(i)] : W(0);
            ds[i] = i < channels ? in.parameters[d_at(i)] : W(0);
        }
    }

    // A chunk of a map in shared memory.
    __device__ __forceinline__ Raw<T> lay_out(Room& room) const {
        const unsigned steps = s.steps_of_chunk, dy_elements = this->dy ? steps * CHANNELS : 0;
        T* x = room.take<T>(steps * CHANNELS);
        T* dy = room.take<T>(dy_elements);
        T* columns = room.take<T>(steps * column_pitch);
        return {x, dy, columns, room.take<unsigned>(steps)};
    }
    __device__ __forceinline__ Raw<T> raw(unsigned chunk) const {
        Room room{raw_start + chunk % 2 * raw_bytes};
        return lay_out(room);
    }

    // Where the parameters of one of the tile's channels begin.
    __device__ __forceinline__ size_t rows() const { return size_t(s.groups) * s.channels; }
    __device__ __forceinline__ size_t row(unsigned channel) const {
        return size_t(group) * s.channels + first + channel;
    }
    __device__ __forceinline__ size_t weight_at(unsigned channel) const { return row(channel) * s.rank; }
    __device__ __forceinline__ size_t bias_at(unsigned channel) const { return rows() * s.rank + row(channel); }
    __device__ __forceinline__ size_t a_at(unsigned channel) const {
        return rows() * (s.rank + 1) + row(channel) * s.states;
    }
    __device__ __forceinline__ size_t d_at(unsigned channel) const {
        return rows() * (s.rank + 1 + s.states) + row(channel);
    }

    // The states of this thread's channel in (B·K, count, D, N).
    __device__ __forceinline__ size_t states_at(unsigned count, unsigned i) const {
        return ((size_t(sequence) * count + i) * s.channels + first + channel) * s.states;
    }
    // Copies this thread's states of its channel, with zeros for those that do not exist.
    __device__ __forceinline__ void load_states(const W* from, W (&to)[STATES]) const {
#pragma unroll
        for (unsigned j = 0; j < STATES; ++j)
            to[j] = channel < channels && state + j < s.states ? from[state + j] : W(0);
    }
    __device__ __forceinline__ void store_states(const W (&from)[STATES], W* to) const {
#pragma unroll
        for (unsigned j = 0; j < STATES; ++j)
            if (channel < channels && state + j < s.states) to[state + j] = from[j];
    }

    // Steps of a chunk that exist.
    __device__ __forceinline__ unsigned steps(unsigned chunk) const {
        return min(s.steps_of_chunk, length - chunk * s.steps_of_chunk);
    }

    __device__ __forceinline__ unsigned pixel(unsigned step) const {
        const unsigned at = group < 2 ? step : length - 1 - step;
        return group % 2 == 0 ? at : at % s.height * s.width + at / s.height;
    }
    // Where a step of a channel is in x, and what is laid out like it, from the origin on.
    __device__ __forceinline__ size_t place(const Raw<T>& raw, unsigned chunk, unsigned t, unsigned channel) const {
        return s.map ? size_t(raw.pixels[t]) * s.channels + channel
                     : size_t(channel) * length + chunk * s.steps_of_chunk + t;
    }
    // The same of a pixel in the projections.
    __device__ __forceinline__ size_t in_projected(unsigned pixel) const { return size_t(pixel) * s.groups * columns; }
    // Where the tile begins in x of all directions.
    __device__ __forceinline__ size_t origin_of_part() const {
        return origin + (s.map ? size_t(group) * s.batch * length * s.channels : 0);
    }
    // The same in the projections, or the weights of rows, of all tiles.
    __device__ __forceinline__ size_t projected_origin_of_part() const {
        return projected_origin + size_t(tile) * s.batch * length * s.groups * columns;
    }
    __device__ __forceinline__ size_t weights_of_part() const {
        return size_t(tile) * s.batch * s.groups * s.states * length;
    }
    // Where a step of a state is in (B, K, N, L).
    __device__ __forceinline__ size_t in_weights(unsigned step, unsigned n) const {
        return (size_t(sequence) * s.states + n) * length + step;
    }

    // Begins to read a chunk of a map.
    __device__ __forceinline__ void read(unsigned chunk) const {
        constexpr unsigned LANES = 8;
        if (!s.map) return;
        const Raw<T> to = raw(chunk);
        const unsigned lane = threadIdx.x % LANES, steps = this->steps(chunk);
#pragma unroll 1
        for (unsigned t = threadIdx.x / LANES; t < steps; t += THREADS / LANES) {
            const unsigned pixel = this->pixel(chunk * s.steps_of_chunk + t);
            const size_t at = size_t(pixel) * s.channels;
            copy_row(to.x + t * CHANNELS, x + at, channels, x_piece, lane, LANES);
            if (dy) copy_row(to.dy + t * CHANNELS, dy + at, channels, dy_piece, lane, LANES);
            const T* from = projected + in_projected(pixel);
            copy_row(to.columns + t * column_pitch, from, columns, projected_piece, lane, LANES);
            if (lane == 0) to.pixels[t] = pixel;
        }
    }

    // Fills in b and c of a chunk.
    __device__ __forceinline__ void read_weights(unsigned chunk) const {
        const unsigned steps = this->steps(chunk), all = s.steps_of_chunk;
        if (s.map) {
            const unsigned n = threadIdx.x % PADDED, first_step = threadIdx.x / PADDED;
            const T* columns = raw(chunk).columns + s.rank + n;
            const unsigned existing = n < s.states ? steps : 0;
#pragma unroll 4
            for (unsigned t = first_step; t < all; t += THREADS / PADDED) {
                const unsigned at = t * column_pitch;
                b[t * PADDED + n] = t < existing ? wide(columns[at]) : W(0);
                c[t * PADDED + n] = t < existing ? wide(columns[at + s.states]) : W(0);
            }
        } else {
#pragma unroll 1
            for (unsigned i = threadIdx.x; i < all * PADDED; i += THREADS) {
                const unsigned t = i % all, n = i / all;
                const bool exists = t < steps && n < s.states;
                const size_t at = in_weights(chunk * all + t, n);
                b[t * PADDED + n] = exists ? wide(in.b[at]) : W(0);
                c[t * PADDED + n] = exists ? wide(in.c[at]) : W(0);
            }
        }
    }

    // Calls f(t, channel, exists, step size before softplus, x) for all steps and channels, each in one thread.
    template <typename F>
    __device__ __forceinline__ void each_input(unsigned chunk, const F& f) const {
        const unsigned steps = this->steps(chunk), all = s.steps_of_chunk;
        if (!s.map) {
#pragma unroll 1
            for (unsigned i = threadIdx.x; i < all * CHANNELS; i += THREADS) {
                const unsigned t = i % all, channel = i / all;
                const bool exists = t < steps && channel < channels;
                const size_t at = origin + size_t(channel) * length + chunk * all + t;
                f(t, channel, exists, exists ? wide(in.delta[at]) + biases[channel] : W(0),
                  exists ? wide(in.x[at]) : W(0));
            }
            return;
        }
        // Several steps of the thread together: a weight is read once for them.
        constexpr unsigned OWN = MOST_STEPS / G < TOGETHER<W> ? MOST_STEPS / G : TOGETHER<W>;
        const Raw<T> raw = this->raw(chunk);
        const unsigned channel = threadIdx.x % CHANNELS;
        const bool channel_exists = channel < channels;
        const W* weight = weights + channel * weight_pitch;
#pragma unroll 1
        for (unsigned begin = threadIdx.x / CHANNELS; begin < all; begin += OWN * G) {
            unsigned low[OWN];
            W sums[OWN];
#pragma unroll
            for (unsigned i = 0; i < OWN; ++i) {
                low[i] = min(begin + i * G, steps - 1) * column_pitch;
                sums[i] = biases[channel];
            }
            unsigned r = 0;
#pragma unroll 1
            for (; r + 4 <= s.rank; r += 4) {
                const W w[] = {weight[r], weight[r + 1], weight[r + 2], weight[r + 3]};
#pragma unroll
                for (unsigned i = 0; i < OWN; ++i) {
                    const Four<T> four = *reinterpret_cast<const Four<T>*>(raw.columns + low[i] + r);
#pragma unroll
                    for (unsigned j = 0; j < 4; ++j) sums[i] += w[j] * wide(four.v[j]);
                }
            }
#pragma unroll 1
            for (; r < s.rank; ++r) {
                const W w = weight[r];
#pragma unroll
                for (unsigned i = 0; i < OWN; ++i) sums[i] += w * wide(raw.columns[low[i] + r]);
            }
#pragma unroll
            for (unsigned i = 0; i < OWN; ++i) {
                const unsigned t = begin + i * G;
                const bool exists = t < steps && channel_exists;
                if (t < all) f(t, channel, exists, sums[i], exists ? wide(raw.x[t * CHANNELS + channel]) : W(0));
            }
        }
    }

    // Calls f(t, channel, its place in x, x) for the steps from `begin` to `end` of a chunk, of all channels, each in
    // one thread.
    template <typename F>
    __device__ __forceinline__ void each_result(unsigned chunk, unsigned begin, unsigned end, const F& f) const {
        const Raw<T> raw = this->raw(chunk);
        if (!s.map) {
#pragma unroll 1
            for (unsigned i = threadIdx.x; begin < end && i < (end - begin) * channels; i += THREADS) {
                const unsigned t = begin + i % (end - begin), channel = i / (end - begin);
                const size_t at = place(raw, chunk, t, channel);
                f(t, channel, at, wide(x[at]));
            }
            return;
        }
        const unsigned channel = threadIdx.x % CHANNELS;
        if (channel >= channels) return;
#pragma unroll 2
        for (unsigned t = begin + threadIdx.x / CHANNELS; t < end; t += G)
            f(t, channel, place(raw, chunk, t, channel), wide(raw.x[t * CHANNELS + channel]));
    }

    // This thread's decay rates times log2(e).
    __device__ __forceinline__ void load_rates(W (&a)[STATES]) const {
        load_states(in.parameters + a_at(channel), a);
#pragma unroll
        for (W& rate : a) rate *= W(LOG2_E);
    }
};

// A step of the states; returns this thread's share of the output.
template <typename W>
__device__ __forceinline__ W advance(W (&h)[STATES], const W (&a)[STATES], W delta, W drive, const Four<W>& b,
                                     const Four<W>& c) {
    W y = 0;
#pragma unroll
    for (unsigned j = 0; j < STATES; ++j) {
        h[j] = power_of_two(delta * a[j]) * h[j] + drive * b.v[j];
        y += h[j] * c.v[j];
    }
    return y;
}

template <typename T, unsigned G, bool ENDS>
__device__ void forward(const Forward<T>& args) {
    using W = Wide<T>;
    using Tile = Tile<T, G>;
    DYNAMIC_SHARED(unsigned char, memory);
    Room room{memory};
    const Tile tile(args.in, nullptr, args.sizes, room);
    const Sizes& s = args.sizes;
    const unsigned all = s.steps_of_chunk;
    // delta and delta · x.
    Two<W>* inputs = room.take<Two<W>>(all * Tile::PITCH);
    // Each thread's share of the outputs, by step.
    W* shares = room.take<W>(all * THREADS);
    room.check(s.shared);

    const unsigned part = blockIdx.y, parts = (tile.chunks + s.chunks_of_part - 1) / s.chunks_of_part;
    const unsigned begin = part * s.chunks_of_part, end = min(begin + s.chunks_of_part, tile.chunks);
    W* y = args.y + tile.origin_of_part();
    W a[STATES], h[STATES] = {}, sum = 0;
    tile.load_rates(a);
    if (args.starts) tile.load_states(args.starts + tile.states_at(parts, part), h);
    tile.read(begin);
    for (unsigned chunk = begin; chunk < end; ++chunk) {
        wait_for_copies();
        __syncthreads();
        if (chunk + 1 < end) tile.read(chunk + 1);
        if (!ENDS && args.kept) tile.store_states(h, args.kept + tile.states_at(tile.chunks, chunk));
        tile.read_weights(chunk);
        tile.each_input(chunk, [&](unsigned t, unsigned channel, bool exists, W raw, W x) {
            const W delta = exists ? Softplus<W>(raw).value : W(0);
            inputs[t * Tile::PITCH + channel] = {{delta, delta * x}};
        });
        __syncthreads();
        const Four<W>* b = reinterpret_cast<const Four<W>*>(tile.b) + threadIdx.x % G;
        const Four<W>* c = reinterpret_cast<const Four<W>*>(tile.c) + threadIdx.x % G;
        for (unsigned start = 0; start < all; start += TOGETHER<W>) {
#pragma unroll
            for (unsigned i = 0; i < TOGETHER<W>; ++i) {
                const unsigned t = start + i;
                const Two<W> input = inputs[t * Tile::PITCH + tile.channel];
                if (ENDS) {
                    sum += input.v[0];
                    advance(h, a, input.v[0], input.v[1], b[t * G], {});
                } else {
                    shares[t * THREADS + threadIdx.x] = advance(h, a, input.v[0], input.v[1], b[t * G], c[t * G]);
                }
            }
        }
        __syncthreads();
        if (ENDS) continue;
        tile.each_result(chunk, 0, tile.steps(chunk), [&](unsigned t, unsigned channel, size_t at, W x) {
            const Four<W>* own = reinterpret_cast<const Four<W>*>(shares + t * THREADS + channel * G);
            W sum = tile.ds[channel] * x;
#pragma unroll
            for (unsigned k = 0; k < G / 4; ++k) sum += (own[k].v[0] + own[k].v[1]) + (own[k].v[2] + own[k].v[3]);
            y[at] = sum;
        });
    }
    if (ENDS) {
        const size_t at = tile.states_at(parts, part);
        tile.store_states(h, args.ends + at);
        if (threadIdx.x % G == 0 && tile.channel < tile.channels) args.sums[at / s.states] = sum;
    }
}

template <typename T>
__device__ void scan_forward(const Forward<T>& a) {
    forward<T, 4, false>(a);
}
EXPORT_RESIDENT(scan_forward, Forward, THREADS, 4)

template <typename T>
__device__ void scan_forward_wide(const Forward<T>& a) {
    forward<T, 16, false>(a);
}
EXPORT_RESIDENT(scan_forward_wide, Forward, THREADS, 4)

template <typename T>
__device__ void scan_ends(const Forward<T>& a) {
    forward<T, 4, true>(a);
}
EXPORT_RESIDENT(scan_ends, Forward, THREADS, 4)

template <typename T>
__device__ void scan_ends_wide(const Forward<T>& a) {
    forward<T, 16, true>(a);
}
EXPORT_RESIDENT(scan_ends_wide, Forward, THREADS, 4)

template <typename T>
struct Chain {
    const Wide<T>* parameters;
    // (B·K, parts, D, N): the states that parts end with when they start from zeros, but for the last part; (B·K,
    // parts, D).
    const Wide<T>* ends;
    const Wide<T>* sums;
    // (B·K, parts, D, N): those that parts start from.
    Wide<T>* starts;
    unsigned sequences, groups, channels, rank, states, parts;
};

// One thread a state.
template <typename T>
__device__ void scan_chain(const Chain<T>& a) {
    using W = Wide<T>;
    const size_t states = size_t(a.channels) * a.states, i = thread_index();
    if (i >= a.sequences * states) return;
    const size_t sequence = i / states, state = i % states, group = sequence % a.groups;
    const size_t rows = size_t(a.groups) * a.channels;
    const W rate = a.parameters[rows * (a.rank + 1) + group * states + state] * W(LOG2_E);
    W h = 0;
    for (unsigned part = 0; part < a.parts; ++part) {
        const size_t row = sequence * a.parts + part, at = row * states + state;
        a.starts[at] = h;
        if (part + 1 < a.parts) h = power_of_two(rate * a.sums[row * a.channels + state / a.states]) * h + a.ends[at];
    }
}
EXPORT_INDEPENDENT(scan_chain, Chain, 256)

// Adds eight values over the lanes of a warp that differ in their channel. The sums of values `summed_here` on end up
// in v[0] on, G / 4 of them in each lane.
template <unsigned G, typename W>
__device__ __forceinline__ void sum_over_channels(W (&v)[2 * STATES]) {
#pragma unroll
    for (unsigned step = G, half = STATES; step < WARP; step *= 2, half /= 2) {
        const bool upper = threadIdx.x & step;
#pragma unroll
        for (unsigned j = 0; j < half; ++j) {
            const W kept = upper ? v[j + half] : v[j], sent = upper ? v[j] : v[j + half];
            v[j] = kept + __shfl_xor_sync(ALL_LANES, sent, step);
        }
    }
}
template <unsigned G>
__device__ __forceinline__ unsigned summed_here() {
    unsigned at = 0;
    for (unsigned step = G, half = STATES; step < WARP; step *= 2, half /= 2) at += threadIdx.x & step ? half : 0;
    return at;
}

template <typename T, unsigned G>
__device__ void backward(const Backward<T>& args) {
    using W = Wide<T>;
    using Tile = Tile<T, G>;
    constexpr unsigned CHANNELS = Tile::CHANNELS, PADDED = Tile::PADDED, PITCH = Tile::PITCH;
    constexpr unsigned OWN = TOGETHER<W>;
    DYNAMIC_SHARED(unsigned char, memory);
    Room room{memory};
    const Tile tile(args.in, args.dy, args.sizes, room);
    const Sizes& s = args.sizes;
    const unsigned all = s.steps_of_chunk, q = threadIdx.x % G;
    // delta, delta · x, dy, the slope of softplus.
    Four<W>* inputs = room.take<Four<W>>(all * PITCH);
    // States before every OWN steps, each thread's.
    Four<W>* checkpoints = room.take<Four<W>>(all / OWN * THREADS);
    // Each thread's share of the gradients of delta (by the decay, over ln 2) and of delta · x.
    Two<W>* shares = room.take<Two<W>>(OWN * THREADS);
    // Each warp's share of the gradients of b and c.
    W* weight_shares = room.take<W>(OWN * WARPS * 2 * PADDED);
    // Gradients of the step sizes before softplus, and shares of those of d, (steps, channels).
    W* draws = room.take<W>(all * CHANNELS);
    W* skips = room.take<W>(all * CHANNELS);
    W* dweights = room.take<W>(CHANNELS * tile.weight_pitch);
    room.check(s.shared);

    // The sums that this thread has are of states that follow each other.
    const unsigned own = summed_here<G>();
    W* own_weight_shares = weight_shares + threadIdx.x / WARP * 2 * PADDED;
    own_weight_shares += own / STATES * PADDED + q * STATES + own % STATES;
    for (unsigned i = threadIdx.x; i < CHANNELS * tile.weight_pitch; i += THREADS) dweights[i] = 0;
    W *dx = args.dx + tile.origin_of_part(), *dprojected = args.dprojected + tile.projected_origin_of_part();
    W a[STATES], g[STATES] = {}, da[STATES] = {}, kept[STATES], dbias = 0, dd = 0;
    tile.load_rates(a);
    tile.load_states(args.kept + tile.states_at(tile.chunks, tile.chunks - 1), kept);
    tile.read(tile.chunks - 1);
    for (unsigned chunk = tile.chunks; chunk-- > 0;) {
        const Raw<T> raw = tile.raw(chunk);
        const unsigned steps = tile.steps(chunk);
        wait_for_copies();
        __syncthreads();
        W h[STATES];
#pragma unroll
        for (unsigned j = 0; j < STATES; ++j) h[j] = kept[j];
        if (chunk > 0) {
            tile.read(chunk - 1);
            tile.load_states(args.kept + tile.states_at(tile.chunks, chunk - 1), kept);
        }
        tile.read_weights(chunk);
        tile.each_input(chunk, [&](unsigned t, unsigned channel, bool exists, W step, W x) {
            Four<W> input = {};
            if (exists) {
                const Softplus<W> delta(step);
                const W dy = wide(s.map ? raw.dy[t * CHANNELS + channel] : tile.dy[tile.place(raw, chunk, t, channel)]);
                input = {{delta.value, delta.value * x, dy, delta.slope}};
            }
            inputs[t * PITCH + channel] = input;
            skips[t * CHANNELS + channel] = input.v[2] * x;
            draws[t * CHANNELS + channel] = 0;
        });
        __syncthreads();
        const Four<W>* b = reinterpret_cast<const Four<W>*>(tile.b) + q;
        const Four<W>* c = reinterpret_cast<const Four<W>*>(tile.c) + q;
        for (unsigned start = 0; start < all; start += OWN) {
            checkpoints[start / OWN * THREADS + threadIdx.x] = {{h[0], h[1], h[2], h[3]}};
            if (start + OWN == all) break;
#pragma unroll
            for (unsigned i = 0; i < OWN; ++i) {
                const Four<W> input = inputs[(start + i) * PITCH + tile.channel];
                advance(h, a, input.v[0], input.v[1], b[(start + i) * G], {});
            }
        }
        W chunk_da[STATES] = {};
        for (unsigned start = all; start > 0;) {
            start -= OWN;
            W decay[OWN][STATES], states[OWN + 1][STATES];
            const Four<W> before = checkpoints[start / OWN * THREADS + threadIdx.x];
#pragma unroll
            for (unsigned j = 0; j < STATES; ++j) states[0][j] = before.v[j];
#pragma unroll
            for (unsigned i = 0; i < OWN; ++i) {
                const Four<W> input = inputs[(start + i) * PITCH + tile.channel], weight = b[(start + i) * G];
#pragma unroll
                for (unsigned j = 0; j < STATES; ++j) {
                    decay[i][j] = power_of_two(input.v[0] * a[j]);
                    states[i + 1][j] = decay[i][j] * states[i][j] + input.v[1] * weight.v[j];
                }
            }
#pragma unroll
            for (unsigned back = 0; back < OWN; ++back) {
                const unsigned i = OWN - 1 - back, t = start + i;
                const Four<W> input = inputs[t * PITCH + tile.channel], in_weight = b[t * G], out_weight = c[t * G];
                const W delta = input.v[0], drive = input.v[1], dy = input.v[2];
                W ddelta = 0, ddrive = 0, products[2 * STATES];
#pragma unroll
                for (unsigned j = 0; j < STATES; ++j) {
                    const W here = dy * out_weight.v[j] + g[j];
                    ddrive += here * in_weight.v[j];
                    g[j] = here * decay[i][j];
                    const W exponent = g[j] * states[i][j];
                    chunk_da[j] += exponent * delta;
                    ddelta += exponent * a[j];
                    products[j] = here * drive;
                    products[STATES + j] = states[i + 1][j] * dy;
                }
                shares[i * THREADS + threadIdx.x] = {{ddelta, ddrive}};
                sum_over_channels<G>(products);
#pragma unroll
                for (unsigned j = 0; j < G / 4; ++j) own_weight_shares[i * WARPS * 2 * PADDED + j] = products[j];
            }
            __syncthreads();
            const unsigned end = min(start + OWN, steps);
            tile.each_result(chunk, start, end, [&](unsigned t, unsigned channel, size_t at, W x) {
                const Two<W>* of_states = shares + (t - start) * THREADS + channel * G;
                W ddelta = 0, ddrive = 0;
#pragma unroll
                for (unsigned k = 0; k < G; ++k) {
                    const Two<W> share = of_states[k];
                    ddelta += share.v[0];
                    ddrive += share.v[1];
                }
                const Four<W> input = inputs[t * PITCH + channel];
                const W draw = (ddrive * x + W(LN_2) * ddelta) * input.v[3];
                dx[at] = ddrive * input.v[0] + input.v[2] * tile.ds[channel];
                draws[t * CHANNELS + channel] = draw;
                if (!s.map) args.ddelta[tile.origin + at] = draw;
            });
#pragma unroll
            for (unsigned i = threadIdx.x; i < OWN * 2 * PADDED; i += THREADS) {
                const unsigned own = i / (2 * PADDED), k = i % (2 * PADDED), n = k % PADDED, t = start + own;
                if (t >= steps || n >= s.states) continue;
                W sum = 0;
#pragma unroll
                for (unsigned warp = 0; warp < WARPS; ++warp)
                    sum += weight_shares[(own * WARPS + warp) * 2 * PADDED + k];
                const bool of_c = k >= PADDED;
                if (s.map)
                    dprojected[tile.in_projected(raw.pixels[t]) + s.rank + of_c * s.states + n] = sum;
                else
                    (of_c ? args.dc : args.db)[tile.weights_of_part() + tile.in_weights(chunk * all + t, n)] = sum;
            }
            __syncthreads();
        }
        // A chunk's share is added up before it joins the total: less rounding on long sequences.
#pragma unroll
        for (unsigned j = 0; j < STATES; ++j) da[j] += chunk_da[j];
        const unsigned channel = threadIdx.x % CHANNELS;
        W chunk_dbias = 0, chunk_dd = 0;
        for (unsigned t = threadIdx.x / CHANNELS; t < steps; t += G) {
            chunk_dbias += draws[t * CHANNELS + channel];
            chunk_dd += skips[t * CHANNELS + channel];
        }
        dbias += chunk_dbias;
        dd += chunk_dd;
        for (unsigned i = threadIdx.x; i < steps * s.rank; i += THREADS) {
            const unsigned t = i / s.rank, r = i % s.rank;
            W sum = 0;
#pragma unroll
            for (unsigned channel = 0; channel < CHANNELS; channel += 4) {
                const Four<W> four = *reinterpret_cast<const Four<W>*>(draws + t * CHANNELS + channel);
#pragma unroll
                for (unsigned j = 0; j < 4; ++j) sum += tile.weights[(channel + j) * tile.weight_pitch + r] * four.v[j];
            }
            dprojected[tile.in_projected(raw.pixels[t]) + r] = sum;
        }
        // Two ranks together: a step's gradient is read once for them.
        for (unsigned r = threadIdx.x / CHANNELS; r < s.rank; r += 2 * G) {
            const bool both = r + G < s.rank;
            const T *low = raw.columns + r, *other = low + (both ? G : 0);
            W sum = 0, other_sum = 0;
            for (unsigned t = 0; t < steps; ++t) {
                const W draw = draws[t * CHANNELS + channel];
                sum += draw * wide(low[t * tile.column_pitch]);
                other_sum += draw * wide(other[t * tile.column_pitch]);
            }
            dweights[channel * tile.weight_pitch + r] += sum;
            if (both) dweights[channel * tile.weight_pitch + r + G] += other_sum;
        }
    }

    const size_t count = tile.rows() * (s.rank + s.states + 2);
    W* to = args.dparameters + tile.image * count;
    if (tile.channel < tile.channels) tile.store_states(da, to + tile.a_at(tile.channel));
    // Nobody has read these since the last barrier.
    shares[threadIdx.x] = {{dbias, dd}};
    __syncthreads();
    for (unsigned channel = threadIdx.x; channel < tile.channels; channel += THREADS) {
        W dbias = 0, dd = 0;
        for (unsigned k = 0; k < G; ++k) {
            dbias += shares[k * CHANNELS + channel].v[0];
            dd += shares[k * CHANNELS + channel].v[1];
        }
        to[tile.bias_at(channel)] = dbias;
        to[tile.d_at(channel)] = dd;
    }
    for (unsigned i = threadIdx.x; i < tile.channels * s.rank; i += THREADS) {
        const unsigned channel = i / s.rank, r = i % s.rank;
        to[tile.weight_at(channel) + r] = dweights[channel * tile.weight_pitch + r];
    }
}

template <typename T>
__device__ void scan_backward(const Backward<T>& a) {
    backward<T, 4>(a);
}
EXPORT_RESIDENT(scan_backward, Backward, THREADS, 2)

template <typename T>
__device__ void scan_backward_wide(const Backward<T>& a) {
    backward<T, 16>(a);
}
EXPORT_RESIDENT(scan_backward_wide, Backward, THREADS, 2)

template <typename T>
struct AddParts {
    // (count, elements)
    const Wide<T>* parts;
    T* sum;
    unsigned count, elements;
};

// The sum of some parts, four elements a thread where they are aligned.
template <typename T>
__device__ void add_parts(const AddParts<T>& a) {
    using W = Wide<T>;
    const size_t first = 4 * thread_index();
    if (first >= a.elements) return;
    if (a.elements % 4 == 0) {
        Four<W> sum = *reinterpret_cast<const Four<W>*>(a.parts + first);
        for (unsigned i = 1; i < a.count; ++i) {
            const Four<W> part = *reinterpret_cast<const Four<W>*>(a.parts + size_t(i) * a.elements + first);
#pragma unroll
            for (unsigned j = 0; j < 4; ++j) sum.v[j] += part.v[j];
        }
        Four<T> narrowed;
#pragma unroll
        for (unsigned j = 0; j < 4; ++j) narrowed.v[j] = narrow<T>(sum.v[j]);
        *reinterpret_cast<Four<T>*>(a.sum + first) = narrowed;
        return;
    }
    for (size_t at = first; at < min(first + 4, size_t(a.elements)); ++at) {
        W sum = a.parts[at];
        for (unsigned i = 1; i < a.count; ++i) sum += a.parts[size_t(i) * a.elements + at];
        a.sum[at] = narrow<T>(sum);
    }
}
EXPORT_INDEPENDENT(add_parts, AddParts, 256)

KERNELS(scan)
