// The parts of CUDA that the kernels use, on a CPU: for g++, with or without -fsanitize=thread.
//
// A thread of the grid is a thread of the system, a block barrier is a std::barrier, and shared memory is heap memory
// of the block, which the other blocks of the cluster can access. Barriers and atomics order memory exactly as on a
// GPU, so a missing barrier is a data race that the sanitizer reports.
#pragma once

#include <algorithm>
#include <atomic>
#include <barrier>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#define DEVICE static inline
#define HOST_AND_DEVICE
#define KERNEL(threads, cluster) static void
#define UNROLL
#define UNROLL_BY(count)

struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
using std::max;
using std::min;

namespace shim {

constexpr int WARP = 32;

// A warp's matrix product: every lane publishes its fragments to the others.
struct Warp {
    std::barrier<> barrier{WARP};
    float a[WARP][4], b[WARP][2];
};

struct Cluster;

struct Block {
    Block(Cluster* cluster, int index, int threads, size_t bytes)
        : cluster(cluster), bytes(bytes), barrier(threads), shared((bytes + GUARD) / sizeof(float4) + 1),
          warps(threads / WARP) {
        start(index);
    }
    void start(int number) {
        index = number;
        std::memset(shared.data(), 0xFF, shared.size() * sizeof(float4));  // NaN: elements that were not written show
    }
    // Whether nothing was written past the end of shared memory.
    bool inside() const {
        const auto* guard = reinterpret_cast<const unsigned char*>(shared.data()) + bytes;
        return std::all_of(guard, guard + GUARD, [](unsigned char byte) { return byte == 0xFF; });
    }
    static constexpr size_t GUARD = 4096;
    Cluster* cluster;
    size_t bytes;
    int index;
    std::barrier<> barrier;
    std::vector<float4> shared;
    std::vector<Warp> warps;
};

struct Cluster {
    Cluster(int threads) : barrier(threads) {}
    std::barrier<> barrier;
    std::vector<Block*> blocks;
};

struct Place {
    Block* block;
    int thread, blocks;
    std::optional<std::barrier<>::arrival_token> arrived;
    std::vector<std::vector<std::pair<float*, const float*>>> copies{1};  // by group; the last is not complete
};
inline thread_local Place place;

// Runs body() in every thread of `blocks` blocks at once. Returns whether no block wrote shared memory past its end.
template <class Body>
bool run(int blocks, int threads, int cluster_size, size_t bytes, Body body) {
    std::vector<Cluster*> clusters;
    std::vector<Block*> all;
    for (int b = 0; b < blocks; ++b) {
        if (b % cluster_size == 0) clusters.push_back(new Cluster(cluster_size * threads));
        all.push_back(new Block(clusters.back(), b, threads, bytes));
        clusters.back()->blocks.push_back(all.back());
    }
    std::vector<std::thread> running;
    for (Block* block : all)
        for (int t = 0; t < threads; ++t)
            running.emplace_back([=] {
                place.block = block;
                place.thread = t;
                place.blocks = blocks;
                body();
            });
    for (std::thread& thread : running) thread.join();
    const bool inside = std::all_of(all.begin(), all.end(), [](const Block* block) { return block->inside(); });
    for (Block* block : all) delete block;
    for (Cluster* cluster : clusters) delete cluster;
    return inside;
}

// Does so for blocks that do not wait for one another, one after the other, so that few threads suffice.
template <class Body>
bool run_in_turn(int blocks, int threads, size_t bytes, Body body) {
    bool inside = true;
    Cluster cluster(threads);
    Block block(&cluster, 0, threads, bytes);
    cluster.blocks.push_back(&block);
    std::barrier ended(threads, [&]() noexcept {
        inside &= block.inside();
        block.start(block.index + 1);
    });
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t)
        running.emplace_back([&, t] {
            place.block = &block;
            place.thread = t;
            place.blocks = blocks;
            for (int b = 0; b < blocks; ++b) {
                place.copies.assign(1, {});
                body();
                ended.arrive_and_wait();
            }
        });
    for (std::thread& thread : running) thread.join();
    return inside;
}

// Runs a kernel with one structure as its argument, its blocks one after the other; returns as run does.
template <class Argument>
bool launch(void (*kernel)(Argument), const void* argument, int blocks, int threads, size_t bytes) {
    const Argument& given = *static_cast<const Argument*>(argument);
    return run_in_turn(blocks, threads, bytes, [&] { kernel(given); });
}
// Likewise, all its blocks at once.
template <class Argument>
bool launch_together(void (*kernel)(Argument), const void* argument, int blocks, int threads, int cluster,
                     size_t bytes) {
    const Argument& given = *static_cast<const Argument*>(argument);
    return run(blocks, threads, cluster, bytes, [&] { kernel(given); });
}
template <class Argument>
int argument_bytes(void (*)(Argument)) {
    return sizeof(Argument);
}

}  // namespace shim

DEVICE int thread_index() { return shim::place.thread; }
DEVICE int block_index() { return shim::place.block->index; }
DEVICE int block_count() { return shim::place.blocks; }
DEVICE int cluster_rank() { return block_index() % (int)shim::place.block->cluster->blocks.size(); }
DEVICE float* shared_memory() { return &shim::place.block->shared[0].x; }

DEVICE void block_barrier() { shim::place.block->barrier.arrive_and_wait(); }
DEVICE void cluster_arrive() { shim::place.arrived.emplace(shim::place.block->cluster->barrier.arrive()); }
DEVICE void cluster_wait() { shim::place.block->cluster->barrier.wait(std::move(*shim::place.arrived)); }

// The same address in the shared memory of another block of the cluster.
DEVICE const float* peer(const float* mine, int rank) {
    return &shim::place.block->cluster->blocks[rank]->shared[0].x + (mine - shared_memory());
}

DEVICE void release_add(unsigned int* counter) {
    std::atomic_ref<unsigned int>(*counter).fetch_add(1, std::memory_order_release);
}
DEVICE unsigned int acquire(unsigned int* counter) {
    std::this_thread::yield();
    return std::atomic_ref<unsigned int>(*counter).load(std::memory_order_acquire);
}

DEVICE unsigned long long nanoseconds() {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}
[[noreturn]] DEVICE void give_up() {
    std::fputs("a block waited too long in a grid barrier\n", stderr);
    std::_Exit(70);
}

DEVICE void store_same(int* at, int number) {
    std::atomic_ref<int>(*at).store(number, std::memory_order_relaxed);
}

template <class Number>
DEVICE Number load_shared_by_all(const Number* at) {
    return *at;
}
DEVICE void copy16(float* shared, const float* global) { shim::place.copies.back().push_back({shared, global}); }
DEVICE void copies_end() { shim::place.copies.emplace_back(); }

// The copies happen here, as late as possible.
template <size_t PENDING>
DEVICE void copies_done() {
    for (auto& groups = shim::place.copies; groups.size() > PENDING + 1; groups.erase(groups.begin()))
        for (auto [shared, global] : groups.front()) std::memcpy(shared, global, 16);
}

DEVICE uint32_t bits_of(float number) { return std::bit_cast<uint32_t>(number); }
DEVICE float number_of(uint32_t bits) { return std::bit_cast<float>(bits); }

// Rounds to TF32, 10 bits of mantissa, half away from zero, as cvt.rna does.
DEVICE uint32_t to_tf32(float number) {
    uint32_t bits = bits_of(number);
    return (bits & 0x7F800000u) == 0x7F800000u ? bits : (bits + 0x1000u) & ~0x1FFFu;
}

// mma.m16n8k8: c (16, 8) += a (16, 8) b (8, 8), fragments in the layout of PTX, whose last 13 bits are ignored.
// All lanes of a warp call it together.
DEVICE void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    shim::Warp& warp = shim::place.block->warps[thread_index() / shim::WARP];
    const int lane = thread_index() % shim::WARP;
    for (int i = 0; i < 4; ++i) warp.a[lane][i] = number_of(a[i] & ~0x1FFFu);
    for (int i = 0; i < 2; ++i) warp.b[lane][i] = number_of(b[i] & ~0x1FFFu);
    warp.barrier.arrive_and_wait();
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        for (int k = 0; k < 8; ++k)
            c[i] += warp.a[row % 8 * 4 + k % 4][row / 8 + 2 * (k / 4)] * warp.b[column * 4 + k % 4][k / 4];
    }
    warp.barrier.arrive_and_wait();
}
