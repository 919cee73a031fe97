// encode on a GPU: normalise, convolve in time, rectify, and keep the maximum of each pool window and its frame.
//
//     xn[n, h]  = (x[n, h] - mean[h]) / std[h], and 0 outside the recording
//     z[n, k]   = sum_i sum_h  w[i, h, k] xn[n - M / 2 + i, h],   w[i] = w_enc[M-1-i]: the filter in the order of frames
//     values[p, k], positions[p, k] = max, argmax of z[n, k] over the frames n of window p, rectified
//
// A block has `windows_each` pool windows of one item and `latents_each` latents. It encodes `rows` frames at a time:
//   1. load: a part of the filters and the normalised frames under them are written to shared memory;
//   2. convolve: each thread adds the products for FRAMES frames x 4 latents in registers. It slides along time, so a
//      tap costs one load of a frame and four of filters for 16 FRAMES multiply-adds. On tensor cores a warp takes 16
//      frames x all latents. `slices` threads or warps share these sums: each has some of the bins. If the filters do
//      not fit, 1 and 2 are repeated for each part of bins and taps;
//   3. pool: the activations, in shared memory, are reduced to the maximum of each window; none leave the block.
//
// The gradients are sparse: one frame of a window has them. `../_cuda/frame_windows.cuh` describes their kernels.
//
// Macros by -D: THREADS, FRAMES, LATENTS (of a block, at most), PRECISION (FFMA, TF32 or TF32X3), those of
// `frame_windows.cuh`, and ENCODE_TILE, the numbers of EncodeTile, if they are constants of the kernel.
//
// train_steps.cuh composes its kernel from the functions for a tile: it defines COMPOSED, and gets these alone.
#pragma once

#include "../_cuda/common.cuh"
#include "../_cuda/frame_windows.cuh"

// ---- A tile in shared memory: normalised frames xn (rows + taps - 1, bins), filters in the order of the frames
// (taps, bins, latents), activations z (slices, rows, latents). Strides are in floats.

constexpr int VECTOR = PRECISION == FFMA ? 4 : 8;  // bins of a step of convolve

#ifndef COMPOSED
#define SIXTEENS 1   // times 16 frames are what a warp takes on tensor cores
#define TAP_PARTS 1  // times FRAMES taps are unrolled in float32
#endif

// Four bins of a row, those from `bins` on as zeros; `aligned` if rows begin at multiples of 16 bytes.
DEVICE float4 load_bins(const float* row, int h, int bins, bool aligned) {
    if (aligned) return h < bins ? at4(row + h) : zero4();
    return make_float4(h < bins ? row[h] : 0.0f, h + 1 < bins ? row[h + 1] : 0.0f, h + 2 < bins ? row[h + 2] : 0.0f,
                       h + 3 < bins ? row[h + 3] : 0.0f);
}

DEVICE float4 normalised(const float4& x, const float4& mean, const float4& inverse) {
    return make_float4((x.x - mean.x) * inverse.x, (x.y - mean.y) * inverse.y, (x.z - mean.z) * inverse.z,
                       (x.w - mean.w) * inverse.w);
}

// A part of the filters w_enc (M, H, K): the taps last_tap, last_tap - 1, ..., and bins and latents from the first on.
struct FilterPart {
    int last_tap, first_bin, first_latent;
    int taps, bins, latents;  // bins a multiple of VECTOR, latents of 4
};

// Write a part to shared memory in the order of the frames, with zeros past H and K; complete after copies_done<0>().
// Other blocks may have rewritten w_enc in this launch.
DEVICE void load_filters(float* shared, int tap_stride, int bin_stride, const float* w_enc, int bins, int latents,
                         bool aligned, const FilterPart& part) {
    const int quads = part.latents / 4;
    for (int u = thread_index(); u < part.bins * quads; u += THREADS) {
        const int k = part.first_latent + 4 * (u % quads), h = part.first_bin + u / quads;
        float* to = shared + u / quads * bin_stride + 4 * (u % quads);
        const float* from = w_enc + ((long long)part.last_tap * bins + h) * latents + k;
        for (int i = 0; i < part.taps; ++i, to += tap_stride, from -= (long long)bins * latents)
            if (aligned && h < bins && k < latents)
                copy16(to, from);
            else
                for (int n = 0; n < 4; ++n) to[n] = h < bins && k + n < latents ? load_shared_by_all(from + n) : 0.0f;
    }
    copies_end();
}

// The work of TASK_THREADS threads: some rows and latents, in one of the slices of the bins. encode_tasks() is how many
// there are in a slice.
struct EncodeTask {
    int slice, row, latent;
};

#if PRECISION == FFMA

typedef float4 EncodeSums[FRAMES];  // of FRAMES frames x 4 latents

constexpr int TASK_THREADS = 1;

DEVICE constexpr int encode_tasks(int rows, int latents) { return rows / FRAMES * (latents / 4); }

// Lanes 2i and 2i + 1 have consecutive groups of frames, and the next two lanes the next 4 latents, so the 16-byte loads
// of a half-warp fall on one or two lines of banks.
DEVICE EncodeTask encode_task(int q, int rows, int latents) {
    const int tasks = encode_tasks(rows, latents), quads = latents / 4, rest = q % tasks;
    return {q / tasks, (2 * (rest / 2 / quads) + rest % 2) * FRAMES, 4 * (rest / 2 % quads)};
}

DEVICE void clear(EncodeSums& z) {
    UNROLL
    for (int f = 0; f < FRAMES; ++f) z[f] = zero4();
}

DEVICE void add_sums(EncodeSums& z, const EncodeSums& sums) {
    UNROLL
    for (int f = 0; f < FRAMES; ++f) add_scaled(z[f], 1.0f, sums[f]);
}

// Add to z[f] the products of the filters with row f .. f + taps - 1 of `rows`, in the bins 4 begin .. 4 end - 1.
DEVICE void convolve(EncodeSums& z, const float* rows, int row_stride, const float* filters, int tap_stride,
                     int bin_stride, int taps, int begin, int end, int) {
    rows += 4 * begin;
    filters += 4 * begin * bin_stride;
    UNROLL_BY(1)
    for (int h4 = begin; h4 < end; ++h4, rows += 4, filters += 4 * bin_stride) {
        float4 ring[FRAMES];  // row r of the run at r % FRAMES
        UNROLL
        for (int f = 0; f < FRAMES - 1; ++f) ring[f] = at4(rows + f * row_stride);
        UNROLL_BY(TAP_PARTS)
        for (int base = 0; base < taps; base += FRAMES) {
            UNROLL
            for (int j = 0; j < FRAMES; ++j) {
                const int i = base + j;
                if (i >= taps) break;
                ring[(j + FRAMES - 1) % FRAMES] = at4(rows + (i + FRAMES - 1) * row_stride);
                const float* w = filters + i * tap_stride;
                const float4 w0 = at4(w), w1 = at4(w + bin_stride), w2 = at4(w + 2 * bin_stride);
                const float4 w3 = at4(w + 3 * bin_stride);
                UNROLL
                for (int f = 0; f < FRAMES; ++f) {
                    const float4 x = ring[(j + f) % FRAMES];
                    add_scaled(z[f], x.x, w0);
                    add_scaled(z[f], x.y, w1);
                    add_scaled(z[f], x.z, w2);
                    add_scaled(z[f], x.w, w3);
                }
            }
        }
    }
}

DEVICE void store_sums(float* z, int stride, const EncodeSums& sums, int) {
    UNROLL
    for (int f = 0; f < FRAMES; ++f) at4(z + f * stride) = sums[f];
}

#else

constexpr int ACROSS = LATENTS / 8;
typedef float EncodeSums[SIXTEENS][ACROSS][4];  // of 16 SIXTEENS frames x all latents, in the fragments of a warp
constexpr int TASK_THREADS = 32;

DEVICE constexpr int encode_tasks(int rows, int) { return rows / (16 * SIXTEENS); }

DEVICE EncodeTask encode_task(int q, int rows, int latents) {
    const int tasks = encode_tasks(rows, latents);
    return {q / tasks, q % tasks * 16 * SIXTEENS, 0};
}

DEVICE void clear(EncodeSums& z) {
    UNROLL
    for (int f = 0; f < SIXTEENS; ++f) {
        UNROLL
        for (int n = 0; n < ACROSS; ++n) z[f][n][0] = z[f][n][1] = z[f][n][2] = z[f][n][3] = 0.0f;
    }
}

DEVICE void add_sums(EncodeSums& z, const EncodeSums& sums) {
    UNROLL
    for (int f = 0; f < SIXTEENS; ++f) {
        UNROLL
        for (int n = 0; n < ACROSS; ++n) {
            UNROLL
            for (int j = 0; j < 4; ++j) z[f][n][j] += sums[f][n][j];
        }
    }
}

// Add to z the products of the filters with 16 SIXTEENS rows and their runs, in the bins 8 begin .. 8 end - 1. All lanes
// of a warp call it together. With TF32X3 the products high * low are added too; only low * low, 2^-22 of the result, is
// omitted, and infinity becomes NaN.
DEVICE void convolve(EncodeSums& z, const float* rows, int row_stride, const float* filters, int tap_stride,
                     int bin_stride, int taps, int begin, int end, int latents) {
    const int group = thread_index() % 32 / 4, member = thread_index() % 4;
    UNROLL_BY(1)
    for (int h8 = begin; h8 < end; ++h8) {
        const float* w = filters + (8 * h8 + member) * bin_stride + group;
        const float* x = rows + group * row_stride + 8 * h8 + member;
        UNROLL_BY(3)
        for (int i = 0; i < taps; ++i, x += row_stride, w += tap_stride) {
            uint32_t high[ACROSS][2], low[ACROSS][2];
            UNROLL
            for (int n = 0; n < ACROSS && 8 * n < latents; ++n) {
                UNROLL
                for (int j = 0; j < 2; ++j) {
                    const Halves parts = halves(w[4 * j * bin_stride + 8 * n], PRECISION);
                    high[n][j] = parts.high;
                    low[n][j] = parts.low;
                }
            }
            UNROLL
            for (int f = 0; f < SIXTEENS; ++f) {
                uint32_t x_high[4], x_low[4];
                UNROLL
                for (int j = 0; j < 4; ++j) {
                    const Halves parts = halves(x[(16 * f + 8 * (j % 2)) * row_stride + 4 * (j / 2)], PRECISION);
                    x_high[j] = parts.high;
                    x_low[j] = parts.low;
                }
                // Products that follow one another do not wait for the same sums.
                if (PRECISION == TF32X3) {
                    UNROLL
                    for (int n = 0; n < ACROSS && 8 * n < latents; ++n) mma(z[f][n], x_low, high[n]);
                    UNROLL
                    for (int n = 0; n < ACROSS && 8 * n < latents; ++n) mma(z[f][n], x_high, low[n]);
                }
                UNROLL
                for (int n = 0; n < ACROSS && 8 * n < latents; ++n) mma(z[f][n], x_high, high[n]);
            }
        }
    }
}

DEVICE void store_sums(float* z, int stride, const EncodeSums& sums, int latents) {
    const int group = thread_index() % 32 / 4, member = thread_index() % 4;
    UNROLL
    for (int f = 0; f < SIXTEENS; ++f) {
        UNROLL
        for (int n = 0; n < ACROSS && 8 * n < latents; ++n) {
            UNROLL
            for (int j = 0; j < 2; ++j) {
                float2* to = reinterpret_cast<float2*>(z + (16 * f + group + 8 * j) * stride + 8 * n + 2 * member);
                *to = make_float2(sums[f][n][2 * j], sums[f][n][2 * j + 1]);
            }
        }
    }
}

#endif

struct Maximum {
    float value;
    int frame;
};

// Update the maximum of a latent by `count` rows of z, which are the frames from `first` on and which slices have parts
// of. The first maximum wins, and a NaN is kept.
DEVICE void pool_rows(Maximum& best, const float* z, int stride, int slices, int slice_stride, int first, int count) {
    UNROLL_BY(4)
    for (int n = 0; n < count; ++n, z += stride) {
        float sum = z[0];
        UNROLL
        for (int slice = 1; slice < slices; ++slice) sum += z[slice * slice_stride];
        if (!(sum <= best.value) && best.value == best.value) best = {sum, first + n};
    }
}

#ifndef COMPOSED

constexpr int ROWS = PRECISION == FFMA ? 2 * FRAMES : 16;

// The division of the work, in the layout of `TILE` in cuda.py.
struct EncodeTile {
    int bins, latents, taps, pool;  // H, K, M, P
    int windows_each;               // windows of a block
    int rows;                       // frames at a time, a multiple of ROWS: all of the windows, or a part of one
    int bins_each, taps_each;       // a part of the sums; bins_each is a multiple of VECTOR
    int latents_each;               // latents of a block, a multiple of VECTOR
    int slices;                     // threads, or warps, that share a sum
};

// In the layout of `ENCODE` in cuda.py.
struct Encode {
    const float *x;                 // (B, N, H)
    const float *w_enc;             // (M, H, K)
    const float *mean, *std;        // (H,), or both null
    float* values;                  // (B, W, K), W = ceil(N / P)
    int* positions;                 // (B, W, K)
    int frames, windows;            // N, W
    int aligned_x, aligned_w;       // whether all rows of x, of w_enc begin at multiples of 16 bytes
    float negative_slope;
    EncodeTile tile;
};

// Offsets in shared memory, in floats.
struct EncodeLayout {
    int row, latent;  // strides: of a frame in xn; of a bin in the filters and of a frame in z
    int filters;      // (taps_each, bins_each, latent)
    int xn;           // (rows + taps_each - 1, row)
    int z;            // (slices, rows, latent)
    int mean, inverse;  // (bins_each,)
    int best, where;  // (windows_each, latents_each)
    int floats;
};

HOST_AND_DEVICE constexpr EncodeLayout encode_layout(const EncodeTile& t) {
    EncodeLayout at = {};
    at.row = t.bins_each + 4;  // rows of frames start in different banks
    at.latent = PRECISION == FFMA || t.latents_each % 16 == 8 ? t.latents_each : t.latents_each + 8;
    at.filters = 0;
    at.xn = at.filters + t.taps_each * t.bins_each * at.latent;
    at.z = at.xn + (t.rows + t.taps_each - 1) * at.row;
    at.mean = at.z + t.slices * t.rows * at.latent;
    at.inverse = at.mean + t.bins_each;
    at.best = at.inverse + t.bins_each;
    at.where = at.best + t.windows_each * t.latents_each;
    at.floats = at.where + t.windows_each * t.latents_each;
    return at;
}

// The frames, latents and windows of a block.
struct EncodePlace {
    long long item;
    int first_window, last_window, first_latent;
};

// A part of the sums.
struct EncodePart {
    int first_bin, first_tap, taps;
};

// Write mean and 1 / std of the part's bins. A std that is not above 0 makes its bin NaN: raising would synchronize.
DEVICE void load_normalisation(float* shared, const Encode& launch, const EncodeTile& t, int first_bin) {
    const EncodeLayout at = encode_layout(t);
    for (int j = thread_index(); j < t.bins_each; j += THREADS) {
        const int h = first_bin + j;
        const bool exists = launch.mean && h < t.bins;
        const float std = exists ? launch.std[h] : 1.0f;
        shared[at.mean + j] = exists ? launch.mean[h] : 0.0f;
        shared[at.inverse + j] = std > 0.0f ? 1.0f / std : number_of(0x7FC00000u);
    }
}

// Write the normalised frames first_row .. of the item, (rows + taps - 1, bins_each); 0 outside the recording.
DEVICE void load_frames(float* shared, const Encode& launch, const EncodeTile& t, const EncodePlace& place,
                        const EncodePart& part, int first_row) {
    const EncodeLayout at = encode_layout(t);
    const int quads = t.bins_each / 4, total = (t.rows + part.taps - 1) * quads;
    const float* item = launch.x + place.item * launch.frames * t.bins;
    constexpr int BATCH = 4;  // loads of a thread on their way at once
    for (int base = thread_index(); base < total; base += BATCH * THREADS) {
        float4 x[BATCH];
        UNROLL
        for (int n = 0; n < BATCH; ++n) {
            const int u = base + n * THREADS, frame = first_row + u / quads, h = part.first_bin + 4 * (u % quads);
            x[n] = zero4();
            if (u < total && frame >= 0 && frame < launch.frames)
                x[n] = load_bins(item + (long long)frame * t.bins, h, t.bins, launch.aligned_x);
        }
        UNROLL
        for (int n = 0; n < BATCH; ++n) {
            const int u = base + n * THREADS, row = u / quads, frame = first_row + row, j = 4 * (u % quads);
            if (u >= total) continue;
            float4 xn = zero4();
            if (frame >= 0 && frame < launch.frames) {
                const float4 mean = at4(static_cast<const float*>(shared) + at.mean + j);
                const float4 inverse = at4(static_cast<const float*>(shared) + at.inverse + j);
                xn = normalised(x[n], mean, inverse);
            }
            at4(shared + at.xn + row * at.row + j) = xn;
        }
    }
}

// Write the activations before the rectifier, (slices, rows, latents_each), of the frames first_row .. first_row + rows.
DEVICE void encode_rows(float* shared, const Encode& launch, const EncodeTile& t, const EncodePlace& place,
                        int first_row) {
    const EncodeLayout at = encode_layout(t);
    const EncodeTask task = encode_task(thread_index() / TASK_THREADS, t.rows, t.latents_each);
    const int vectors = t.bins_each / VECTOR;
    const int begin = task.slice * vectors / t.slices, end = (task.slice + 1) * vectors / t.slices;
    EncodeSums z;
    clear(z);
    for (int first_bin = 0; first_bin < t.bins; first_bin += t.bins_each) {
        for (int first_tap = 0; first_tap < t.taps; first_tap += t.taps_each) {
            const EncodePart part = {first_bin, first_tap, min(t.taps_each, t.taps - first_tap)};
            block_barrier();  // the previous part has been read
            if (first_tap == 0) load_normalisation(shared, launch, t, first_bin);
            load_filters(shared + at.filters, t.bins_each * at.latent, at.latent, launch.w_enc, t.bins, t.latents,
                         launch.aligned_w,
                         {t.taps - 1 - first_tap, first_bin, place.first_latent, part.taps, t.bins_each,
                          t.latents_each});
            block_barrier();  // mean and std are complete
            load_frames(shared, launch, t, place, part, first_row - t.taps / 2 + first_tap);
            copies_done<0>();
            block_barrier();  // the part is complete
            if (task.slice < t.slices) {
                EncodeSums sums;  // apart from those of other parts, so that no sum is long
                clear(sums);
                convolve(sums, shared + at.xn + task.row * at.row, at.row, shared + at.filters + task.latent,
                         t.bins_each * at.latent, at.latent, part.taps, begin, end, t.latents_each);
                add_sums(z, sums);
            }
        }
    }
    if (task.slice < t.slices)
        store_sums(shared + at.z + (task.slice * t.rows + task.row) * at.latent + task.latent, at.latent, z,
                   t.latents_each);
}

// Update the maximum of each window, and its frame, by the rows that lie in the window. Every (window, latent) has the
// same thread in each call.
DEVICE void pool_windows(float* shared, const Encode& launch, const EncodeTile& t, const EncodePlace& place,
                         int first_row) {
    const EncodeLayout at = encode_layout(t);
    int* positions = reinterpret_cast<int*>(shared + at.where);
    for (int u = thread_index(); u < (place.last_window - place.first_window) * t.latents_each; u += THREADS) {
        const int window = place.first_window + u / t.latents_each, begin = window * t.pool;
        const bool first = begin >= first_row;
        Maximum best = {shared[at.best + u], positions[u]};
        if (first) best = {launch.negative_slope > 0.0f ? number_of(0xFF800000u) : 0.0f, begin};
        const int low = max(begin, first_row), high = min(min(begin + t.pool, first_row + t.rows), launch.frames);
        pool_rows(best, shared + at.z + (low - first_row) * at.latent + u % t.latents_each, at.latent, t.slices,
                  t.rows * at.latent, low, high - low);
        shared[at.best + u] = best.value;
        positions[u] = best.frame;
    }
}

DEVICE void store_pooled(const float* shared, const Encode& launch, const EncodeTile& t, const EncodePlace& place) {
    const EncodeLayout at = encode_layout(t);
    for (int u = thread_index(); u < (place.last_window - place.first_window) * t.latents_each; u += THREADS) {
        const int window = place.first_window + u / t.latents_each, k = place.first_latent + u % t.latents_each;
        if (k >= t.latents) continue;
        const float best = shared[at.best + u];
        const long long to = (place.item * launch.windows + window) * t.latents + k;
        launch.values[to] = best < 0.0f ? launch.negative_slope * best : best;
        launch.positions[to] = reinterpret_cast<const int*>(shared)[at.where + u];
    }
}

KERNEL(THREADS, 1) encode(Encode launch) {
#ifdef ENCODE_TILE
    const EncodeTile t = {ENCODE_TILE};
#else
    const EncodeTile t = launch.tile;
#endif
    float* shared = shared_memory();
    const int parts = ceil_div(t.latents, t.latents_each), tiles = ceil_div(launch.windows, t.windows_each);
    EncodePlace place;
    place.first_latent = block_index() % parts * t.latents_each;
    place.item = block_index() / parts / tiles;
    place.first_window = block_index() / parts % tiles * t.windows_each;
    place.last_window = min(place.first_window + t.windows_each, launch.windows);
    const int end = min(place.last_window * t.pool, launch.frames);
    for (int first_row = place.first_window * t.pool; first_row < end; first_row += t.rows) {
        encode_rows(shared, launch, t, place, first_row);
        block_barrier();  // the activations are complete
        pool_windows(shared, launch, t, place, first_row);
    }
    store_pooled(shared, launch, t, place);  // each number by the thread that wrote it
}

// The gradient of x: each latent adds its filter, times the gradient of its value and divided by std, to its run.
KERNEL(THREADS, 1) encode_gradient_x(Scatter launch) {
#ifdef SCATTER_TILE
    const ScatterTile t = {SCATTER_TILE};
#else
    const ScatterTile t = launch.tile;
#endif
    scatter_runs(shared_memory(), launch, t);
}

// The gradient of w_enc in parts: each latent adds its run of xn, times the gradient of its value.
KERNEL(THREADS, 1) encode_gradient_w(Reduce launch) {
#ifdef REDUCE_TILE
    const ReduceTile t = {REDUCE_TILE};
#else
    const ReduceTile t = launch.tile;
#endif
    reduce_runs(shared_memory(), launch, t);
}

KERNEL(THREADS, 1) encode_add_up(AddUp launch) { add_up(shared_memory(), launch); }

#endif  // COMPOSED
