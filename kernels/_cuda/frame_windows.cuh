// Sums over runs of frames, for the sparse passes of encode and decode.
//
// Bins are contiguous, so the M frames under a filter are one contiguous run of M H numbers. A latent whose maximum is
// at frame t has the run of the M frames from t - M / 2 on. Row k is the filter of latent k in the order of the frames.
//
//     scatter_runs   out[run(t)] += amplitude * row[k]      decode; encode's gradient of x
//     reduce_runs    row[k] += amplitude * source[run(t)]   the gradients of both weights, in parts
//                    dots[w, k] = source[run(t)] . row[k]   the gradient of the values that decode got
//     add_up         the ordered sum of such parts
//
// Frames outside the recording are skipped. An amplitude of 0 adds nothing. The position of window w lies in
// [w pool_least, (w + 1) pool_most): decode does not know the pool. A position outside makes the numbers NaN that its
// window can reach: raising would synchronize the stream. No sum depends on the order of threads.
//
// Macros by -D: THREADS; OUTPUTS, sums of 4 bins that a thread keeps in scatter_runs; LANES, threads that share a run;
// SUMS, numbers of a run that a thread keeps in reduce_runs; and SCATTER_TILE or REDUCE_TILE, the numbers of ScatterTile
// or ReduceTile, if they are constants of the kernel.
#pragma once

#include "common.cuh"

// Add the entries first .. last - 1 of a list: each is a value, and the offset from `row` of the numbers it multiplies.
DEVICE void add_entries(float4& sum, const float* list, int first, int last, const float* row) {
    UNROLL_BY(4)
    for (int n = first; n < last; ++n)
        add_scaled(sum, list[2 * n], at4(row + reinterpret_cast<const int*>(list)[2 * n + 1]));
}

#ifndef COMPOSED  // the functions for one tile in shared memory are above

// Runs of frames, in the layout of `RUNS` in frame_windows.py.
struct Runs {
    const float* amplitudes;  // (B, W, K)
    const float* values;      // (B, W, K), or null: where they are not above 0, the rectifier scales the amplitudes
    const int* positions;     // (B, W, K)
    int frames, windows;      // N, W
    int pool_least, pool_most;
    float negative_slope;     // of the rectifier
};

constexpr int NO_POSITION = -1;  // of a latent that adds nothing
constexpr int WRONG_POSITION = -2;

// The amplitude and position of number `at` of (B, W, K), which is in `window` of its item.
struct Pooled {
    float amplitude;
    int position;
};

DEVICE Pooled pooled_at(const Runs& runs, long long at, int window) {
    Pooled pooled = {runs.amplitudes[at], runs.positions[at]};
    // A comparison with a NaN is false, so its gradient passes.
    if (runs.values && runs.values[at] <= 0.0f)
        pooled.amplitude = runs.negative_slope > 0.0f ? runs.negative_slope * pooled.amplitude : 0.0f;
    const int low = window * runs.pool_least, high = min(runs.frames, (window + 1) * runs.pool_most);
    if (pooled.position < low || pooled.position >= high) pooled.position = WRONG_POSITION;
    return pooled;
}

// ---- scatter_runs: a block has the frames of a tile, of one item, in some of the bins.
//
// For a few latents at a time, it loads their rows and the (value, position) of all windows that reach the tile, and
// sorts these by position, so that the latents that reach a frame are one range of a list. Each thread then adds up
// that range for its frames and bins, in registers, with the rows in shared memory.

// In the layout of `SCATTER_TILE` in frame_windows.py.
struct ScatterTile {
    int bins, latents, taps;  // H, K, M
    int rows;                 // frames of a tile
    int bins_each;            // of a block, a multiple of 4; rows * bins_each <= 4 OUTPUTS THREADS
    int latents_each;         // at a time
};

// In the layout of `SCATTER` in frame_windows.py.
struct Scatter {
    float* out;            // (B, N, H)
    const float* filters;  // tap i, bin h of row k at k * latent_stride + i * tap_stride + h * bin_stride
    const float* divisor;  // (H,) of the result, or null
    long long latent_stride, tap_stride, bin_stride;
    Runs runs;
    int windows_most;  // that reach a tile
    int aligned_out, aligned_filters;  // whether 4 bins of any frame, of any filter are 16 aligned bytes
    ScatterTile tile;
};

// Offsets in shared memory, in floats.
struct ScatterLayout {
    int filters;                // (taps, latents_each, bins_each)
    int amplitudes, positions;  // (windows_most, latents_each)
    int list;                   // (windows_most, latents_each, 2): amplitude, offset of the row
    int counts;                 // (reach,): latents at each frame that reaches the tile
    int first;                  // (reach + 1,): index in the list of the first latent of each frame
    int wrong;                  // whether a window that reaches the tile has a wrong position
    int floats;
};

HOST_AND_DEVICE constexpr ScatterLayout scatter_layout(const ScatterTile& t, int windows_most) {
    ScatterLayout at = {};
    const int pooled = windows_most * t.latents_each, reach = t.rows + t.taps - 1;
    at.amplitudes = t.taps * t.latents_each * t.bins_each;
    at.positions = at.amplitudes + pooled;
    at.list = at.positions + pooled;
    at.counts = at.list + 2 * pooled;
    at.first = at.counts + reach;
    at.wrong = at.first + reach + 1;
    at.floats = at.wrong + 1;
    return at;
}

// The frames of a block, and the windows whose runs can reach them.
struct ScatterPlace {
    long long item;
    int first_frame, first_bin;
    int reach0;  // the first frame whose run reaches the tile
    int first_window, last_window;
};

// Write the rows of the latents, zeros where there are none; complete after copies_done<0>().
DEVICE void load_rows(float* shared, const Scatter& launch, const ScatterTile& t, const ScatterPlace& place,
                      int first_latent) {
    if (launch.aligned_filters) {  // consecutive bins are at consecutive addresses, four of them aligned
        const int quads = t.bins_each / 4, total = t.taps * t.latents_each * quads;
        for (int u = thread_index(); u < total; u += THREADS) {
            const int k = first_latent + u / quads % t.latents_each, h = place.first_bin + 4 * (u % quads);
            const int i = u / quads / t.latents_each;
            const float* from = launch.filters + k * launch.latent_stride + i * launch.tap_stride + h;
            if (k < t.latents && h < t.bins)
                copy16(shared + 4 * u, from);
            else
                at4(shared + 4 * u) = zero4();
        }
        copies_end();
        return;
    }
    const int total = t.taps * t.latents_each * t.bins_each;
    const bool bins_first = launch.bin_stride == 1;  // consecutive threads load consecutive numbers
    for (int u = thread_index(); u < total; u += THREADS) {
        const int j = bins_first ? u % t.bins_each : u / t.latents_each % t.bins_each;
        const int n = bins_first ? u / t.bins_each % t.latents_each : u % t.latents_each;
        const int i = u / t.bins_each / t.latents_each, k = first_latent + n, h = place.first_bin + j;
        const long long from = k * launch.latent_stride + i * launch.tap_stride + h * launch.bin_stride;
        shared[(i * t.latents_each + n) * t.bins_each + j] = k < t.latents && h < t.bins ? launch.filters[from] : 0.0f;
    }
}

DEVICE void load_pooled(float* shared, const Scatter& launch, const ScatterTile& t, const ScatterPlace& place,
                        int first_latent) {
    const ScatterLayout at = scatter_layout(t, launch.windows_most);
    int* words = reinterpret_cast<int*>(shared);
    for (int u = thread_index(); u < (place.last_window - place.first_window + 1) * t.latents_each; u += THREADS) {
        const int window = place.first_window + u / t.latents_each, k = first_latent + u % t.latents_each;
        Pooled pooled = {0.0f, NO_POSITION};
        if (k < t.latents)
            pooled = pooled_at(launch.runs, (place.item * launch.runs.windows + window) * t.latents + k, window);
        if (pooled.position == WRONG_POSITION) store_same(words + at.wrong, 1);
        shared[at.amplitudes + u] = pooled.amplitude;
        words[at.positions + u] = pooled.amplitude == 0.0f ? NO_POSITION : pooled.position;
    }
}

// Call use(n) with the index, in (windows, latents_each), of every latent at frame reach0 + r, in order.
template <class Use>
DEVICE void latents_at(const float* shared, const Scatter& launch, const ScatterTile& t, const ScatterPlace& place,
                       int r, Use use) {
    const int* positions = reinterpret_cast<const int*>(shared) + scatter_layout(t, launch.windows_most).positions;
    const int frame = place.reach0 + r;
    if (frame < 0 || frame >= launch.runs.frames) return;
    const int low = max(frame / launch.runs.pool_most, place.first_window) - place.first_window;
    const int high = min(frame / launch.runs.pool_least, place.last_window) - place.first_window;
    UNROLL_BY(8)
    for (int n = low * t.latents_each; n < (high + 1) * t.latents_each; ++n)
        if (positions[n] == frame) use(n);
}

// Make the list of the latents that reach the tile, by frame, and where each frame's latents begin in it. For row q of
// the tile the offset of a latent's row is q * latents_each * bins_each later.
DEVICE void sort_pooled(float* shared, const Scatter& launch, const ScatterTile& t, const ScatterPlace& place) {
    const ScatterLayout at = scatter_layout(t, launch.windows_most);
    int* words = reinterpret_cast<int*>(shared);
    const int reach = t.rows + t.taps - 1;
    for (int r = thread_index(); r < reach; r += THREADS) {
        int count = 0;
        latents_at(shared, launch, t, place, r, [&](int) { ++count; });
        words[at.counts + r] = count;
    }
    block_barrier();  // the counts are complete
    for (int r = thread_index(); r <= reach; r += THREADS) {
        int before = 0;
        UNROLL_BY(8)
        for (int other = 0; other < r; ++other) before += words[at.counts + other];
        words[at.first + r] = before;
        if (r == reach) continue;
        latents_at(shared, launch, t, place, r, [&](int n) {
            shared[at.list + 2 * before] = shared[at.amplitudes + n];
            const int k = n % t.latents_each;
            words[at.list + 2 * before + 1] = ((t.taps - 1 - r) * t.latents_each + k) * t.bins_each;
            ++before;
        });
    }
}

DEVICE void scatter_runs(float* shared, const Scatter& launch, const ScatterTile& t) {
    const Runs& runs = launch.runs;
    const ScatterLayout at = scatter_layout(t, launch.windows_most);
    int* words = reinterpret_cast<int*>(shared);
    const int bin_parts = ceil_div(t.bins, t.bins_each), tiles = ceil_div(runs.frames, t.rows);
    ScatterPlace place;
    place.first_bin = block_index() % bin_parts * t.bins_each;
    place.first_frame = block_index() / bin_parts % tiles * t.rows;
    place.item = block_index() / bin_parts / tiles;
    place.reach0 = place.first_frame + t.taps / 2 - (t.taps - 1);
    place.first_window = max(place.reach0, 0) / runs.pool_most;
    place.last_window = min((place.first_frame + t.rows - 1 + t.taps / 2) / runs.pool_least, runs.windows - 1);
    if (thread_index() == 0) words[at.wrong] = 0;

    const int quads = t.bins_each / 4;
    float4 sums[OUTPUTS];
    UNROLL
    for (int n = 0; n < OUTPUTS; ++n) sums[n] = zero4();
    for (int first_latent = 0; first_latent < t.latents; first_latent += t.latents_each) {
        block_barrier();  // the previous latents have been read; `wrong` is set
        load_rows(shared, launch, t, place, first_latent);
        load_pooled(shared, launch, t, place, first_latent);
        copies_done<0>();
        block_barrier();  // rows, amplitudes and positions are complete
        sort_pooled(shared, launch, t, place);
        block_barrier();  // the list is complete
        UNROLL
        for (int n = 0; n < OUTPUTS; ++n) {
            const int u = thread_index() + n * THREADS, q = u / quads, j = 4 * (u % quads);
            if (q >= t.rows) continue;
            const float* row = shared + at.filters + q * t.latents_each * t.bins_each + j;
            float4 sum = zero4();
            add_entries(sum, shared + at.list, words[at.first + q], words[at.first + q + t.taps], row);
            add_scaled(sums[n], 1.0f, sum);
        }
    }
    const bool wrong = words[at.wrong] != 0;
    UNROLL
    for (int n = 0; n < OUTPUTS; ++n) {
        const int u = thread_index() + n * THREADS, q = u / quads, h = place.first_bin + 4 * (u % quads);
        const int frame = place.first_frame + q;
        if (q >= t.rows || frame >= runs.frames) continue;
        float out[4] = {sums[n].x, sums[n].y, sums[n].z, sums[n].w};
        UNROLL
        for (int i = 0; i < 4; ++i) {
            if (launch.divisor && h + i < t.bins) out[i] /= launch.divisor[h + i];
            if (wrong) out[i] = number_of(0x7FC00000u);
        }
        float* to = launch.out + (place.item * runs.frames + frame) * t.bins + h;
        if (launch.aligned_out && h < t.bins)
            at4(to) = make_float4(out[0], out[1], out[2], out[3]);
        else
            for (int i = 0; i < 4 && h + i < t.bins; ++i) to[i] = out[i];
    }
}

// ---- reduce_runs: LANES threads have a latent, and each of them SUMS numbers of its row, LANES apart, in registers.
//
// A run is read by consecutive threads at consecutive addresses, mostly from the first-level cache: the latents of a
// window share its frames. The windows are divided among blocks in order.

// In the layout of `REDUCE_TILE` in frame_windows.py.
struct ReduceTile {
    int bins, latents, taps;  // H, K, M
};

// In the layout of `REDUCE` in frame_windows.py.
struct Reduce {
    float* partials;            // (parts, K, M H), or null
    float* dots;                // (chunks, B W, K), or null
    const float* source;        // (B, N, H)
    const float* filters;       // tap i, bin h of row k at k * latent_stride + i * tap_stride + h; null without dots
    const float *mean, *std;    // (H,) of the source, or both null
    long long latent_stride, tap_stride;
    Runs runs;
    int total_windows, windows_each;  // B W; of a part
    int chunks;                       // of a row: LANES SUMS numbers each
    ReduceTile tile;
};

constexpr int TEAMS = THREADS / LANES;  // latents of a block
constexpr int DOTS_EACH = 16;           // windows whose dots are added up at a time

DEVICE void reduce_runs(float* shared, const Reduce& launch, const ReduceTile& t) {
    const Runs& runs = launch.runs;
    const int teams = ceil_div(t.latents, TEAMS), length = t.taps * t.bins;
    const int chunk = block_index() % launch.chunks, part = block_index() / launch.chunks / teams;
    const int lane = thread_index() % LANES, team = thread_index() / LANES;
    const int k0 = block_index() / launch.chunks % teams * TEAMS, k = k0 + team;
    const int first = chunk * SUMS * LANES + lane;  // of the thread's numbers of the row
    const int last_window = min((part + 1) * launch.windows_each, launch.total_windows);

    float sums[SUMS], filter[SUMS], mean[SUMS];
    UNROLL
    for (int q = 0; q < SUMS; ++q) {
        const int j = first + q * LANES, i = j / t.bins, h = j % t.bins;
        const bool exists = j < length && k < t.latents;
        sums[q] = 0.0f;
        filter[q] = launch.dots && exists ? launch.filters[k * launch.latent_stride + i * launch.tap_stride + h] : 0.0f;
        mean[q] = launch.mean && exists ? launch.mean[h] : 0.0f;
    }
    int item = part * launch.windows_each / runs.windows, window = part * launch.windows_each % runs.windows;
    for (int batch = part * launch.windows_each; batch < last_window; batch += DOTS_EACH) {
        const int batch_end = min(batch + DOTS_EACH, last_window);
        UNROLL_BY(2)
        for (int w = batch; w < batch_end && k < t.latents; ++w) {
            const Pooled pooled = pooled_at(runs, (long long)w * t.latents + k, window);
            const bool wrong = pooled.position == WRONG_POSITION;
            const float amplitude = wrong ? number_of(0x7FC00000u) : pooled.amplitude;
            const int start = (wrong ? 0 : pooled.position) - t.taps / 2;
            const int low = max(-start, 0) * t.bins, high = min(t.taps, runs.frames - start) * t.bins;
            const float* run = launch.source + ((long long)item * runs.frames + start) * t.bins;
            float dot = wrong ? number_of(0x7FC00000u) : 0.0f;
            if (launch.dots || amplitude != 0.0f) {
                UNROLL
                for (int q = 0; q < SUMS; ++q) {
                    const int j = first + q * LANES;
                    const float number = j >= low && j < high ? run[j] - mean[q] : 0.0f;
                    if (amplitude != 0.0f) sums[q] += amplitude * number;
                    dot += number * filter[q];
                }
            }
            if (launch.dots) shared[((w - batch) * TEAMS + team) * (LANES + 1) + lane] = dot;
            if (++window == runs.windows) {
                window = 0;
                ++item;
            }
        }
        if (launch.dots) {
            block_barrier();  // the lanes' parts of the dots are complete
            for (int u = thread_index(); u < (batch_end - batch) * TEAMS; u += THREADS) {
                if (k0 + u % TEAMS >= t.latents) continue;
                float dot = 0.0f;
                UNROLL_BY(8)
                for (int n = 0; n < LANES; ++n) dot += shared[u * (LANES + 1) + n];
                const long long at = (long long)(batch + u / TEAMS) * t.latents + k0 + u % TEAMS;
                launch.dots[(long long)chunk * launch.total_windows * t.latents + at] = dot;
            }
            block_barrier();  // they have been read
        }
    }
    if (!launch.partials || k >= t.latents) return;
    float* to = launch.partials + ((long long)part * t.latents + k) * length;
    UNROLL
    for (int q = 0; q < SUMS; ++q) {
        const int j = first + q * LANES;
        if (j >= length) continue;
        float sum = sums[q];
        if (launch.std) sum *= 1.0f / launch.std[j % t.bins];
        to[j] = sum;
    }
}

// ---- add_up: LANES numbers of a block, and all its other threads share the parts of each.

// In the layout of `ADD_UP` in frame_windows.py.
struct AddUp {
    float* total;           // number (k, i, h) at k * strides[0] + i * strides[1] + h * strides[2]
    const float* partials;  // (parts, K, M, H)
    long long strides[3];
    long long size;  // K M H
    int parts, taps, bins;
};

DEVICE void add_up(float* shared, const AddUp& launch) {
    const int lane = thread_index() % LANES, team = thread_index() / LANES;
    const long long at = (long long)block_index() * LANES + lane;
    float sum = 0.0f;
    if (at < launch.size) {
        UNROLL_BY(8)
        for (int part = team; part < launch.parts; part += TEAMS) sum += launch.partials[part * launch.size + at];
    }
    shared[thread_index()] = sum;
    block_barrier();  // the teams' sums are complete
    if (team > 0 || at >= launch.size) return;
    for (int other = 1; other < TEAMS; ++other) sum += shared[other * LANES + lane];
    const int h = at % launch.bins, i = at / launch.bins % launch.taps;
    const long long k = at / launch.bins / launch.taps;
    launch.total[k * launch.strides[0] + i * launch.strides[1] + h * launch.strides[2]] = sum;
}

#endif  // COMPOSED
