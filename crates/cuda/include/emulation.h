// Runs CUDA kernels on the processor, one block after the other; barriers and shuffles wait for each other as on a GPU, so
// that indexing, races on shared memory and tails can be tested without one. The threads of a block take turns as coroutines,
// from barrier to barrier, which is fast; with EMULATE_BY_THREADS they are threads of the operating system, for a thread
// sanitizer to find races.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#ifdef EMULATE_BY_THREADS
#include <barrier>
#include <thread>
#else
#include <csetjmp>
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
// One block runs at a time, so that what is static is the block's.
#define __shared__ static

using std::max;
using std::min;

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
};

// The upper half of a float, rounded to the nearest, ties to even.
struct bf16 {
    uint16_t bits;
};
inline float __bfloat162float(bf16 x) { return std::bit_cast<float>(uint32_t(x.bits) << 16); }
inline bf16 __float2bfloat16(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    if (x != x) return {uint16_t(0x7fc0)};
    return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float exp2f_approx(float x) { return std::exp2(x); }
inline float __fmul_rn(float x, float y) { return x * y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline unsigned atomicAdd(unsigned* sum, unsigned x) { return __atomic_fetch_add(sum, x, __ATOMIC_RELAXED); }

namespace emulation {

[[noreturn]] inline void fail(const char* message) {
    std::fprintf(stderr, "emulated kernel: %s\n", message);
    std::abort();
}

#ifdef EMULATE_BY_THREADS
using Barrier = std::barrier<>;
#else
// Lets the other threads of the block run.
inline void yield();

// Barriers that were passed: a block whose threads all wait, none of them passing one, waits for ever.
inline thread_local size_t passed = 0;

// As std::barrier, for coroutines.
class Barrier {
  public:
    explicit Barrier(unsigned expected) : expected(expected) {}
    void arrive_and_wait() {
        const unsigned phase = phases;
        ++arrived;
        complete();
        while (phases == phase) yield();
    }
    void arrive_and_drop() {
        --expected;
        complete();
    }

  private:
    void complete() {
        if (arrived < expected) return;
        arrived = 0;
        ++phases;
        ++passed;
    }
    unsigned expected, arrived = 0, phases = 0;
};
#endif

// What the threads of a warp exchange.
struct Warp {
    explicit Warp(unsigned lanes) : barrier(lanes) {}
    Barrier barrier;
    alignas(16) unsigned char slots[32][16];
};

// What the threads of a block meet at. A thread that ends no longer takes part.
struct Block {
    explicit Block(unsigned threads) : barrier(threads) {
        for (unsigned first = 0; first < threads; first += 32)
            warps.push_back(std::make_unique<Warp>(std::min(32u, threads - first)));
    }
    Barrier barrier;
    std::vector<std::unique_ptr<Warp>> warps;
};

inline thread_local Block* block = nullptr;
inline unsigned char* shared_memory = nullptr;

// An exported kernel.
struct Kernel {
    const char* name;
    size_t args_size;
    // Whether its threads may meet.
    bool cooperates;
    void (*run)(const void* args);
};

}  // namespace emulation

inline thread_local Dim3 threadIdx, blockIdx;
inline Dim3 blockDim, gridDim;

#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulation::shared_memory)

inline void __syncthreads() {
    if (!emulation::block) emulation::fail("a barrier in a kernel exported as independent");
    emulation::block->barrier.arrive_and_wait();
}

namespace emulation {

inline Warp& warp() {
    if (!block) fail("a warp's exchange in a kernel exported as independent");
    return *block->warps[threadIdx.x / 32];
}

}  // namespace emulation

// The value of lane `lane ^ mask`; this lane's own where there is no such lane.
template <typename T>
T __shfl_xor_sync(unsigned, T value, unsigned mask) {
    static_assert(sizeof(T) <= 16);
    emulation::Warp& here = emulation::warp();
    const unsigned lane = threadIdx.x % 32, from = lane ^ mask;
    const unsigned lanes = std::min(32u, blockDim.x - threadIdx.x / 32 * 32);
    std::memcpy(here.slots[lane], &value, sizeof(T));
    here.barrier.arrive_and_wait();
    T other = value;
    if (from < lanes) std::memcpy(&other, here.slots[from], sizeof(T));
    here.barrier.arrive_and_wait();
    return other;
}

namespace emulation {

inline void next_block() {
    if (++blockIdx.x < gridDim.x) return;
    blockIdx.x = 0;
    if (++blockIdx.y < gridDim.y) return;
    blockIdx.y = 0;
    ++blockIdx.z;
}

inline void run_independent(const Kernel& kernel, const void* args) {
    block = nullptr;
    for (blockIdx = {0, 0, 0}; blockIdx.z < gridDim.z; next_block())
        for (threadIdx = {0, 0, 0}; threadIdx.x < blockDim.x; ++threadIdx.x) kernel.run(args);
}

// One thread of the current block, to its end.
inline void run_thread(const Kernel& kernel, const void* args, unsigned thread) {
    kernel.run(args);
    block->warps[thread / 32]->barrier.arrive_and_drop();
    block->barrier.arrive_and_drop();
}

#ifdef EMULATE_BY_THREADS

inline void run_cooperating(const Kernel& kernel, const void* args, unsigned shared) {
    std::vector<uint64_t> memory(shared / 8 + 1);
    std::unique_ptr<Block> current;
    const auto renew = [&]() noexcept {
        current = std::make_unique<Block>(blockDim.x);
        // What was not written is NaN.
        std::fill(memory.begin(), memory.end(), ~uint64_t(0));
    };
    renew();
    shared_memory = reinterpret_cast<unsigned char*>(memory.data());
    std::barrier end(std::ptrdiff_t(blockDim.x), renew);
    const auto run = [&](unsigned thread) {
        threadIdx = {thread, 0, 0};
        // Blocks share nothing, and threads are dear: the first and the last ones, which have the tails, tell of the others.
        constexpr size_t MOST = 4;
        const size_t blocks = size_t(gridDim.x) * gridDim.y * gridDim.z;
        size_t index = 0;
        for (blockIdx = {0, 0, 0}; blockIdx.z < gridDim.z; next_block(), ++index) {
            if (index >= MOST / 2 && index + MOST / 2 < blocks) continue;
            block = current.get();
            run_thread(kernel, args, thread);
            end.arrive_and_wait();
        }
    };
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < blockDim.x; ++thread) threads.emplace_back(run, thread);
    for (auto& thread : threads) thread.join();
}

#else

// One thread of a block after the other. It is made once and waits between blocks.
struct Coroutine {
    std::vector<char> stack;
    jmp_buf at;
    bool ended;
};

// The launch that this thread of the operating system emulates.
struct Running {
    const Kernel* kernel;
    const void* args;
    jmp_buf scheduler;
    std::vector<std::unique_ptr<Coroutine>> coroutines;
    unsigned current;
};
inline thread_local Running running;

// By jumps, which unlike switches of contexts do not ask the system for anything.
inline void yield() {
    if (_setjmp(running.coroutines[running.current]->at) == 0) _longjmp(running.scheduler, 1);
}

inline void coroutine() {
    for (;;) {
        run_thread(*running.kernel, running.args, running.current);
        running.coroutines[running.current]->ended = true;
        yield();
    }
}

[[gnu::noinline]] inline void start(Coroutine& next) {
    constexpr size_t STACK = 256 << 10;
    ucontext_t context;
    getcontext(&context);
    next.stack.resize(STACK);
    context.uc_stack.ss_sp = next.stack.data();
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, coroutine, 0);
    setcontext(&context);
}

// Lets the current thread of the block run until it waits or ends.
[[gnu::noinline]] inline void resume(Coroutine& next) {
    if (_setjmp(running.scheduler) != 0) return;
    if (next.stack.empty()) start(next);
    _longjmp(next.at, 1);
}

// Gives each thread of the block its turns, until all have ended.
inline void run_block() {
    for (auto& coroutine : running.coroutines) coroutine->ended = false;
    for (unsigned left = blockDim.x; left > 0;) {
        const size_t before = passed + blockDim.x - left;
        for (unsigned thread = 0; thread < blockDim.x; ++thread) {
            Coroutine& next = *running.coroutines[thread];
            if (next.ended) continue;
            running.current = thread;
            threadIdx = {thread, 0, 0};
            resume(next);
            if (next.ended) --left;
        }
        if (passed + blockDim.x - left == before) fail("threads wait at different barriers");
    }
}

inline void run_cooperating(const Kernel& kernel, const void* args, unsigned shared) {
    std::vector<uint64_t> memory(shared / 8 + 1);
    shared_memory = reinterpret_cast<unsigned char*>(memory.data());
    running.kernel = &kernel;
    running.args = args;
    while (running.coroutines.size() < blockDim.x) running.coroutines.push_back(std::make_unique<Coroutine>());
    for (blockIdx = {0, 0, 0}; blockIdx.z < gridDim.z; next_block()) {
        // What was not written is NaN.
        std::fill(memory.begin(), memory.end(), ~uint64_t(0));
        Block current(blockDim.x);
        block = &current;
        run_block();
    }
}

#endif

inline void launch(const Kernel* kernel, const unsigned* grid, unsigned threads, unsigned shared, const void* args) {
    static std::mutex one_at_a_time;
    const std::lock_guard lock(one_at_a_time);
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0) fail("an empty grid");
    if (kernel->cooperates)
        run_cooperating(*kernel, args, shared);
    else
        run_independent(*kernel, args);
}

// What the host sees of a kernel.
struct Entry {
    Kernel kernel;
    void (*launch)(const Kernel*, const unsigned*, unsigned, unsigned, const void*);
};

inline namespace of_file {
namespace {
std::vector<Entry>& table() {
    static std::vector<Entry> entries;
    return entries;
}
struct Registration {
    explicit Registration(Kernel kernel) { table().push_back({kernel, launch}); }
};
}  // namespace
}  // namespace of_file

}  // namespace emulation

#define EMULATE_KERNEL(exported, args, cooperates, ...)                            \
    static const emulation::Registration registration_of_##exported({              \
        #exported, sizeof(args), cooperates,                                       \
        [](const void* a) { __VA_ARGS__(*static_cast<const args*>(a)); },          \
    });
#define EXPORT_AS(exported, args, threads, ...) EMULATE_KERNEL(exported, args, true, __VA_ARGS__)
#define EXPORT_RESIDENT_AS(exported, args, threads, blocks, ...) EXPORT_AS(exported, args, threads, __VA_ARGS__)
#define EXPORT_INDEPENDENT_AS(exported, args, threads, ...) EMULATE_KERNEL(exported, args, false, __VA_ARGS__)
#define KERNELS(file)                                                      \
    extern "C" const emulation::Entry* kernels_of_##file(size_t* count) {  \
        *count = emulation::table().size();                                \
        return emulation::table().data();                                  \
    }
