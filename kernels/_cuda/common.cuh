// Code that the CUDA C kernels share: barriers, clusters, loads that bypass the first-level cache, tensor-core
// products.
//
// Compiled by NVRTC or nvcc for a GPU, and by g++ with the thread shim for tests. Kernels use everything that differs
// between the two through this file.
#pragma once

// Milliseconds that a block waits in a grid barrier until it ends the launch with an error; with 0 it waits for ever.
#ifndef PATIENCE
#define PATIENCE 0
#endif

#ifndef __CUDACC__
#include "shim.h"
#else

typedef unsigned int uint32_t;

#define DEVICE __device__ __forceinline__
#define HOST_AND_DEVICE __host__ __device__
#define KERNEL(threads, cluster) extern "C" __global__ void __launch_bounds__(threads, 1)
#define UNROLL _Pragma("unroll")
#define PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(count) PRAGMA(unroll count)

extern __shared__ float4 dynamic_shared[];

DEVICE int thread_index() { return threadIdx.x; }
DEVICE int block_index() { return blockIdx.x; }
DEVICE int block_count() { return gridDim.x; }
DEVICE float* shared_memory() { return &dynamic_shared[0].x; }

DEVICE void block_barrier() { __syncthreads(); }

#if __CUDA_ARCH__ >= 900
DEVICE int cluster_rank() {
    int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
// Between arrive and wait, a thread must not write memory that others read.
DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

// The same address in the shared memory of another block of the cluster.
DEVICE const float* peer(const float* mine, int rank) {
    const float* theirs;
    asm("mapa.u64 %0, %1, %2;" : "=l"(theirs) : "l"(mine), "r"(rank));
    return theirs;
}
#else
// Before sm_90 a cluster is one block.
DEVICE int cluster_rank() { return 0; }
DEVICE void cluster_arrive() {}
DEVICE void cluster_wait() { __syncthreads(); }
DEVICE const float* peer(const float* mine, int) { return mine; }
#endif

DEVICE void release_add(unsigned int* counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}
DEVICE unsigned int acquire(unsigned int* counter) {
    unsigned int seen;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
    return seen;
}

DEVICE unsigned long long nanoseconds() {
    unsigned long long now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}
DEVICE void give_up() { asm volatile("trap;"); }

// For a number that several threads of a block may store at a time, all the same.
DEVICE void store_same(int* at, int number) { *reinterpret_cast<volatile int*>(at) = number; }

// For memory that other blocks rewrite within a launch: loads from the second-level cache, which all blocks share.
template <class Number>
DEVICE Number load_shared_by_all(const Number* at) {
    return __ldcg(at);
}

// Copy 16 bytes from the second-level cache to shared memory, not through a register. Copies up to copies_end() form a
// group; after copies_done<n>() all groups of the thread except the last n are complete.
DEVICE void copy16(float* shared, const float* global) {
    unsigned int to = (unsigned int)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
DEVICE void copies_end() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
DEVICE void copies_done() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Rounds to TF32, 10 bits of mantissa, half away from zero.
DEVICE uint32_t to_tf32(float number) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(number));
    return bits;
}
DEVICE uint32_t bits_of(float number) { return __float_as_uint(number); }
DEVICE float number_of(uint32_t bits) { return __uint_as_float(bits); }

// c (16, 8) += a (16, 8) b (8, 8) on the tensor cores. All lanes of a warp call it together.
DEVICE void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

HOST_AND_DEVICE constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
HOST_AND_DEVICE constexpr int round_up(int a, int to) { return ceil_div(a, to) * to; }
HOST_AND_DEVICE constexpr int larger(int a, int b) { return a > b ? a : b; }

DEVICE float4 zero4() { return make_float4(0.0f, 0.0f, 0.0f, 0.0f); }
DEVICE float4& at4(float* numbers) { return *reinterpret_cast<float4*>(numbers); }
DEVICE float4 at4(const float* numbers) { return *reinterpret_cast<const float4*>(numbers); }
DEVICE void add_scaled(float4& sum, float factor, const float4& v) {
    sum.x += factor * v.x;
    sum.y += factor * v.y;
    sum.z += factor * v.z;
    sum.w += factor * v.w;
}
DEVICE float dot(const float4& a, const float4& b, float sum) {
    return sum + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

#ifdef THREADS
// Return the sum over the block's threads, added in a fixed order, to thread 0 or to `all`. `scratch` has 2 THREADS
// floats.
DEVICE double block_sum(float* scratch, double mine, bool all) {
    double* sums = reinterpret_cast<double*>(scratch);
    constexpr int WIDTH = THREADS < 32 ? THREADS : 32;
    block_barrier();  // the previous sum has been read
    sums[thread_index()] = mine;
    block_barrier();
    double sum = 0.0;
    if (thread_index() < WIDTH) {
        for (int t = thread_index(); t < THREADS; t += WIDTH) sum += sums[t];
        sums[thread_index()] = sum;  // no other thread reads this one
    }
    block_barrier();
    sum = 0.0;
    if (all || thread_index() == 0)
        for (int t = 0; t < WIDTH; ++t) sum += sums[t];
    return sum;
}
#endif

// The precisions of products: in float32, on tensor cores, and on these in three parts, which is nearly float32.
#define FFMA 0
#define TF32 1
#define TF32X3 2

// A number for the tensor cores, which ignore the last 13 bits; in three parts the nearest TF32 number and the exact
// remainder, of which they use 10 more bits.
struct Halves {
    uint32_t high, low;
};

DEVICE Halves halves(float number, int precision) {
    if (precision == TF32) return {to_tf32(number), 0u};
    const uint32_t high = (bits_of(number) + 0x1000u) & ~0x1FFFu;
    return {high, bits_of(number - number_of(high))};
}

// A barrier over all blocks of a resident grid, in two halves. `counter` is 0 at first; `arrivals` counts the barriers
// since.
DEVICE void grid_arrive(unsigned int* counter) {
    block_barrier();  // what all threads of the block wrote is released with thread 0's arrival
    if (thread_index() == 0) release_add(counter);
}
DEVICE void grid_wait(unsigned int* counter, unsigned int arrivals) {
    if (thread_index() == 0) {
        const unsigned long long start = PATIENCE ? nanoseconds() : 0;
        while ((int)(acquire(counter) - arrivals * block_count()) < 0)
            if (PATIENCE && nanoseconds() - start > PATIENCE * 1000000ull) give_up();
    }
    block_barrier();
}
