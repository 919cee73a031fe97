// Whole training steps in one launch: the grid stays resident for all steps, and only weights and gradients leave it.
//
// A tile is OWN pool windows of an item plus HALO = ceil((M-1)/P) windows on each side. A cluster of SPLIT * LANES
// blocks processes LANES tiles at a time; each of the SPLIT blocks of a tile has K / SPLIT latents. In a step a block
//   1. draws its tile's crops by Philox and writes to shared memory the normalised frames (xn) and the error of a
//      reconstruction that is still zero (e = -x);
//   2. encodes all windows of the tile by the functions of encode.cuh: a matrix product of overlapping runs of xn with
//      the filters, in registers or on the tensor cores (a warp takes 16 * FRAMES frames), in SLICES separate sums over
//      parts of the bins, for parallelism;
//   3. pools: value and position of the first maximum of each window, for each latent;
//   4. sorts the positions, so that the latents that reach a frame are one range of a list;
//   5. decodes: e += r at its own frames and the M-1 around them, summed over the blocks of a tile; loss of own frames;
//   6. computes gradients of its own windows: a thread has a few taps x 4 bins of one latent for both filters and keeps
//      their sums in registers for all tiles of the step: w_dec with the dots, which give the gradient of the values,
//      then w_enc.
// 5 and 6 are sparse: a latent reaches M frames in each window. Gradients after the loss are those of e; the update
// applies the factor 2 / B once.
// The kernels of single ops have other loops for the gradients: a thread of theirs loads a number of e or xn for two
// multiply-adds, from the first-level cache, and a thread of this kernel 16 bytes of shared memory for eight.
// Then the partial gradients are added: within a cluster through distributed shared memory, between clusters through
// L2.
//   grid barrier 1: all partial gradients are written before any is read;
//   each block adds a slice over the clusters in order and takes the optimizer's step on it;
//   grid barrier 2: all weights are written before any is read for the next step, and all partials are read before any
//   is overwritten. The next step's crops need no weights, so they are drawn while the barrier completes.
// With POPULATION each cluster trains a run of its own: cluster barriers replace those of the grid, and the sums over
// the cluster's blocks are the gradients.
//
// Shared memory, in floats: w_enc (M, HP, KS), by index in the run instead of tap, and w_dec (M, KB, HP), both
// overwritten by the block's partial gradients (2, KB, M, HP) if a cluster adds them; xn (XROWS, HS); e (EROWS, HS); z
// (SLICES, FP, ZS), later the block's part of r; dots; values, keys, list and first of the windows. HP and KB are H and
// the block's latents rounded up and padded with zeros.
//
// Floors for a step at B 16, N 512, H 32, K 32, M 9, P 16 on an H200, with tiles of 8 windows over clusters of 2, in
// cycles of a multiprocessor: encode 5800 at the float32 rate or 3500 in three TF32 products, halo included; three
// sparse passes of 1200 at the bandwidth of shared memory; exchange of r 1300 at 13 bytes a cycle; gradients written
// and read 2600 and weights read 1300 at 28 bytes a cycle from L2; two grid barriers of about 2200: 17000 in all, 8.5
// us at 1.98 GHz.
//
// Macros by -D: H, K, M, P, OWN, FRAMES, SLICES, TAPS (taps of a thread), THREADS, SPLIT, LANES, PRECISION, POPULATION,
// and, 1 or 0, CORRUPTION (the encoder's input has crops that the target lacks), NEGATIVE_SLOPE (a rectifier with a
// slope below 0) and RECTIFIED_OUTPUT (r is max(decode, 0)).
#pragma once

#include "../_cuda/common.cuh"
#include "../_cuda/philox.cuh"

// The functions for a tile, for this block's latents and with the loop over taps unrolled.
#define COMPOSED
#define LATENTS KB
#define SIXTEENS FRAMES
#define TAP_PARTS ceil_div(M, FRAMES)
constexpr int KB = round_up(ceil_div(K, SPLIT), PRECISION == FFMA ? 4 : 8), K4 = KB / 4;
#include "../decode/decode.cuh"
#include "../encode/encode.cuh"

constexpr int CLUSTER = SPLIT * LANES;
constexpr int HP = round_up(H, VECTOR), H4 = HP / 4;
constexpr int HS = HP + 4;  // rows of frames start in different banks
constexpr int KS = PRECISION == FFMA || KB % 16 == 8 ? KB : KB + 8;  // rows of a fragment start in different banks
constexpr int ZS = KS;  // also for z
constexpr int BEFORE = M / 2;  // frames of a run before its position
constexpr int HALO = ceil_div(M - 1, P);
constexpr int WINDOWS = OWN + 2 * HALO;
constexpr int FP = round_up(WINDOWS * P, PRECISION == FFMA ? 2 * FRAMES : 16 * FRAMES);  // frames encoded
constexpr int XROWS = FP + M - 1;
constexpr int EROWS = OWN * P + M - 1;
constexpr int TAP_GROUPS = ceil_div(M, TAPS);
constexpr int COLUMNS = TAP_GROUPS * KB * H4;
constexpr int COLUMNS_EACH = ceil_div(COLUMNS, THREADS);
constexpr int GRADIENT = KB * M * HP;  // of one filter bank, in one block
constexpr int MINE = WINDOWS * KB;     // pooled latents of a tile in one block

constexpr bool ADDED_IN_CLUSTER = POPULATION || LANES > 1;  // whether a cluster adds its partial gradients first

constexpr int W_ENC = 0;
constexpr int W_DEC = W_ENC + M * HP * KS;
constexpr int XN = W_DEC + M * KB * HP;
constexpr int ERROR = XN + XROWS * HS;
constexpr int Z = ERROR + EROWS * HS;
constexpr int DOTS = Z + larger(SLICES * FP * ZS, SPLIT > 1 ? EROWS * HP : 0);
constexpr int VALUES = DOTS + OWN * KB * TAP_GROUPS * H4;
constexpr int GRADS = VALUES + MINE;
constexpr int KEYS = GRADS + OWN * KB;
constexpr int LIST = KEYS + MINE;
constexpr int FIRST = LIST + 2 * MINE;
constexpr int SCRATCH = FIRST + round_up(WINDOWS * (P + 1), 4);
constexpr int CORRECTION = SCRATCH + 2 * THREADS;  // past what block_sum uses
constexpr int RUN = SCRATCH + 4 * THREADS;
enum Optimizer { ADADELTA, ADAM, SGD, NESTEROV };

// A run, in the layout of `RUN` in cuda.py. Weights and state are rewritten within a launch.
struct TrainingRun {
    float* weights[2];   // w_enc (M, H, K), w_dec (M, K, H)
    float* state[2][2];  // of w_enc, of w_dec; the second is null if the rule has one
    const float *source, *mean, *inverse_std, *foreground;
    const long long *starts_before, *shift, *group_first, *group_starts;
    double options[4];
    double weight_decay;
    double latent_weight;
    unsigned long long seed;
    int recordings, noise_items;
    unsigned int step;      // number of the launch's first step; a launch leaves here that of the next
    unsigned int barriers;  // of the grid, in earlier launches
};
constexpr int STARTS = RUN + sizeof(TrainingRun) / 4;
constexpr int SHARED_FLOATS = STARTS;  // plus two for each group that an item draws from
static_assert(PRECISION == FFMA || THREADS % 32 == 0, "whole warps");
static_assert(THREADS % 4 == 0 && RUN % 4 == 0 && sizeof(TrainingRun) % 8 == 0, "aligned");

// Settings that all runs of a launch share, in the layout of `LAUNCH` in cuda.py.
struct Launch {
    TrainingRun* runs;
    float* partials;        // (clusters, SPLIT, 2, KB, M, HP)
    double* loss_partials;  // (2, blocks), see loss_parts
    double* losses;         // (runs, steps)
    unsigned int* counter;  // of the grid barrier
    int steps, batch, frames, signal_groups, noise_groups, corruption_groups, optimizer;
    float negative_slope;
};

// The run, latents and tiles of a block.
struct Place {
    const TrainingRun* run;         // a copy in shared memory
    int part;               // of the latents, 0 .. SPLIT-1
    int lane, lanes;        // tiles lane, lane + lanes, ... are this block's
    int cluster, clusters;  // among those that train the same run
    int block, blocks;      // likewise
    int tiles_each, tiles;  // of an item, of the batch
};

struct Tile {
    int item, first_window;  // the first of its own windows
};

DEVICE Tile tile_at(const Place& place, int number) {
    return {number / place.tiles_each, number % place.tiles_each * OWN};
}

DEVICE float4 load_bins(const float* row, int h) { return load_bins(row, h, H, H % 4 == 0); }

// Write the sum of the tile's crops to xn and, negated and without those of corruption, to the error.
DEVICE void draw(float* shared, const Launch& launch, const Place& place, int number, unsigned int step) {
    const TrainingRun& run = *place.run;
    const Tile tile = tile_at(place, number);
    long long* starts = reinterpret_cast<long long*>(shared + STARTS);
    const bool noise = tile.item < run.noise_items;
    const int own = noise ? launch.noise_groups : launch.signal_groups;
    const int groups = CORRUPTION ? own + launch.corruption_groups : own;
    for (int g = thread_index(); g < groups; g += THREADS) {
        int group = noise ? launch.signal_groups + g : g;
        if (CORRUPTION && g >= own) group = launch.signal_groups + launch.noise_groups + (g - own);
        const unsigned long long word = first_word(run.seed, step, tile.item, group);
        const long long crop = run.group_first[group] + (long long)((word * run.group_starts[group]) >> 32);
        int low = 0, high = run.recordings;  // the recording is in [low, high)
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            (run.starts_before[middle] <= crop ? low : high) = middle;
        }
        starts[g] = crop + run.shift[low];
    }
    block_barrier();  // the starts are written, and all reads of the previous tile are done
    const int frame0 = (tile.first_window - HALO) * P - BEFORE;
    constexpr int TOTAL = XROWS * H4, BATCH = 4;  // loads of a thread on their way at once
    constexpr bool SAME_BINS = THREADS % H4 == 0;  // in all rows of a thread, which loads mean and 1 / std once
    float4 mean = zero4(), inverse = zero4();
    auto load_normalisation = [&](int h) {
        mean = load_bins(run.mean, h);
        inverse = load_bins(run.inverse_std, h);
    };
    if (SAME_BINS && 4 * (thread_index() % H4) < H) load_normalisation(4 * (thread_index() % H4));
    for (int base = thread_index(); base < TOTAL; base += BATCH * THREADS) {
        float4 x[BATCH], target[BATCH];
        auto add_crops = [&](int first, int last) {
            for (int g = first; g < last; ++g) {
                const float* crop = run.source + starts[g] * H;
                UNROLL
                for (int n = 0; n < BATCH; ++n) {
                    const int u = base + n * THREADS, h = 4 * (u % H4), frame = frame0 + u / H4;
                    if (u < TOTAL && frame >= 0 && frame < launch.frames && h < H)
                        add_scaled(x[n], 1.0f, load_bins(crop + (long long)frame * H, h));
                }
            }
        };
        UNROLL
        for (int n = 0; n < BATCH; ++n) x[n] = zero4();
        add_crops(0, own);
        UNROLL
        for (int n = 0; n < BATCH; ++n) target[n] = x[n];
        if (CORRUPTION) add_crops(own, groups);
        UNROLL
        for (int n = 0; n < BATCH; ++n) {
            const int u = base + n * THREADS, row = u / H4, h = 4 * (u % H4), frame = frame0 + row;
            if (u >= TOTAL) continue;
            float4 xn = zero4();
            if (frame >= 0 && frame < launch.frames && h < H) {
                if (!SAME_BINS) load_normalisation(h);
                xn = normalised(x[n], mean, inverse);
            }
            at4(shared + XN + row * HS + h) = xn;
            const int error_row = row - HALO * P;
            if (error_row >= 0 && error_row < EROWS)
                at4(shared + ERROR + error_row * HS + h) = make_float4(-target[n].x, -target[n].y, -target[n].z, -target[n].w);
        }
    }
}

// Load this block's latents of both filter banks from global memory, where other blocks have rewritten them. w_enc is
// complete on return, w_dec after copies_done<0>().
DEVICE void load_weights(float* shared, const Place& place) {
    const int k0 = place.part * KB;
    load_filters(shared + W_ENC, HP * KS, KS, place.run->weights[0], H, K, K % 4 == 0, {M - 1, 0, k0, M, HP, KB});
    for (int u = thread_index(); u < KB * H4; u += THREADS) {
        const int h = 4 * (u % H4), k = u / H4;
        float* to = shared + W_DEC + k * HP + h;
        const float* from = place.run->weights[1] + (k0 + k) * H + h;
        for (int i = 0; i < M; ++i, to += KB * HP, from += K * H)
            if (H % 4 == 0 && h < H && k0 + k < K)
                copy16(to, from);
            else
                for (int j = 0; j < 4; ++j) to[j] = h + j < H && k0 + k < K ? load_shared_by_all(from + j) : 0.0f;
    }
    copies_end();
    copies_done<1>();
}

// Compute z, before the rectifier, for all windows of the tile.
DEVICE void encode(float* shared) {
    constexpr int TASKS = encode_tasks(FP, KB) * SLICES, AT_ONCE = THREADS / TASK_THREADS;
    for (int q = thread_index() / TASK_THREADS; q < TASKS; q += AT_ONCE) {
        const EncodeTask task = encode_task(q, FP, KB);
        const int begin = task.slice * (HP / VECTOR) / SLICES, end = (task.slice + 1) * (HP / VECTOR) / SLICES;
        EncodeSums z;
        clear(z);
        convolve(z, shared + XN + task.row * HS, HS, shared + W_ENC + task.latent, HP * KS, KS, M, begin, end, KB);
        store_sums(shared + Z + (task.slice * FP + task.row) * ZS + task.latent, ZS, z, KB);
    }
}

// Sort key of a pooled latent that is not zero (with NEGATIVE_SLOPE: of every latent): its position in the tile, then
// its number. Other latents come last.
constexpr int NO_KEY = 0x7FFFFFFF;

// Find the largest activation of each window, and its key. A NaN is kept.
DEVICE void pool(float* shared, const Launch& launch, const Tile& tile) {
    int* keys = reinterpret_cast<int*>(shared + KEYS);
    for (int u = thread_index(); u < MINE; u += THREADS) {
        const int window = u / KB, k = u % KB;
        const int begin = (tile.first_window - HALO + window) * P;
        const int count = begin < 0 ? 0 : min(P, launch.frames - begin);
        Maximum best = {NEGATIVE_SLOPE && count > 0 ? number_of(0xFF800000u) : 0.0f, window * P};  // minus infinity
        pool_rows(best, shared + Z + window * P * ZS + k, ZS, SLICES, FP * ZS, window * P, count);
        const float value = best.value;
        shared[VALUES + u] = NEGATIVE_SLOPE && value < 0.0f ? launch.negative_slope * value : value;
        keys[u] = (NEGATIVE_SLOPE ? count <= 0 : value == 0.0f) ? NO_KEY : best.frame * KB + k;
    }
}

// For each window list the latents that are not zero by position; for each frame store the index in its window's list
// of the first latent at this frame or later.
DEVICE void sort(float* shared) {
    const int* keys = reinterpret_cast<const int*>(shared + KEYS);
    int* first = reinterpret_cast<int*>(shared + FIRST);
    for (int u = thread_index(); u < WINDOWS * (KB + P + 1); u += THREADS) {
        const int window = u / (KB + P + 1), j = u % (KB + P + 1);
        const int key = j < KB ? keys[window * KB + j] : (window * P + j - KB) * KB;
        int before = window * KB;
        const int4* others = reinterpret_cast<const int4*>(keys + window * KB);
        UNROLL_BY(8)
        for (int k = 0; k < K4; ++k) {
            const int4 other = others[k];
            before += (other.x < key) + (other.y < key) + (other.z < key) + (other.w < key);
        }
        if (j >= KB) {
            first[window * (P + 1) + j - KB] = before;
        } else if (key != NO_KEY) {
            const int position = key / KB, k = key % KB;
            shared[LIST + 2 * before] = shared[VALUES + window * KB + k];
            // the offset in w_dec for row 0 of the error and this latent; for row q it is q frames later
            reinterpret_cast<int*>(shared)[LIST + 2 * before + 1] = ((HALO * P - position) * KB + k) * HP;
        }
    }
}

// Return `kept` if `by` is positive or NaN, else 0.
DEVICE float4 rectified(const float4& by, const float4& kept) {
    return make_float4(by.x <= 0.0f ? 0.0f : kept.x, by.y <= 0.0f ? 0.0f : kept.y, by.z <= 0.0f ? 0.0f : kept.z,
                       by.w <= 0.0f ? 0.0f : kept.w);
}

// Add the reconstruction to the error; return this thread's part of the squared error of own frames.
DEVICE double decode(float* shared, const Launch& launch, const Place& place, const Tile& tile, bool active) {
    const int* first = reinterpret_cast<const int*>(shared + FIRST);
    const int frame0 = tile.first_window * P - BEFORE;
    const int own_end = min(BEFORE + OWN * P, launch.frames - frame0);
    double loss = 0.0;
    auto add = [&](int row, int h, const float4& r) {
        float4& error = at4(shared + ERROR + row * HS + h);
        if (RECTIFIED_OUTPUT) {
            float4 residual = error;
            add_scaled(residual, 1.0f, rectified(r, r));
            if (row >= BEFORE && row < own_end && place.part == 0) loss += dot(residual, residual, 0.0f);
            error = rectified(r, residual);
            return;
        }
        add_scaled(error, 1.0f, r);
        if (row >= BEFORE && row < own_end && place.part == 0)
            loss += dot(error, error, 0.0f);
    };
    if (active)
        for (int u = thread_index(); u < EROWS * H4; u += THREADS) {
            const int row = u / H4, h = 4 * (u % H4), frame = frame0 + row;
            float4 r = zero4();
            if (frame >= 0 && frame < launch.frames) {
                const int last = row + HALO * P, begin = last - (M - 1);  // positions whose runs contain this frame
                const float* filters = shared + W_DEC + row * KB * HP + h;
                for (int window = begin / P; window <= last / P; ++window) {
                    const int* bounds = first + window * (P + 1);
                    const int end = bounds[min(last + 1 - window * P, P)];
                    add_entries(r, shared + LIST, bounds[max(begin - window * P, 0)], end, filters);
                }
            }
            if (SPLIT == 1)
                add(row, h, r);
            else
                at4(shared + Z + row * HP + h) = r;
        }
    if (SPLIT > 1) {
        cluster_arrive();
        cluster_wait();  // the parts of the other latents are complete
        constexpr int TOTAL = EROWS * H4, BATCH = 4;  // loads of a thread on their way at once, from each block
        // Each block adds its part of the frames and reads the sums of the others: 2 (SPLIT-1) / SPLIT of r are moved
        // instead of SPLIT-1. Two blocks gain nothing by that and add all of it.
        constexpr int EACH = SPLIT == 2 ? TOTAL : ceil_div(TOTAL, SPLIT);
        const int begin = SPLIT == 2 ? 0 : place.part * EACH, end = min(begin + EACH, TOTAL);
        const int rank0 = cluster_rank() - place.part;
        for (int base = begin + thread_index(); active && base < end; base += BATCH * THREADS) {
            float4 r[BATCH];
            UNROLL
            for (int n = 0; n < BATCH; ++n) r[n] = zero4();
            auto add_part = [&](const float* theirs) {
                UNROLL
                for (int n = 0; n < BATCH; ++n)
                    if (base + n * THREADS < end) add_scaled(r[n], 1.0f, at4(theirs + 4 * (base + n * THREADS)));
            };
            // A block's own memory is faster by its own address. Two blocks get equal sums in either order.
            add_part(shared + Z);
            UNROLL
            for (int other = 1; other < SPLIT; ++other)  // a remainder by 2 takes more registers
                add_part(peer(shared + Z, rank0 + (SPLIT == 2 ? 1 - place.part : (place.part + other) % SPLIT)));
            UNROLL
            for (int n = 0; n < BATCH; ++n) {
                const int u = base + n * THREADS;
                if (u >= end) continue;
                if (SPLIT == 2)
                    add(u / H4, 4 * (u % H4), r[n]);
                else
                    at4(shared + Z + 4 * u) = r[n];  // no other thread reads this part of this block's r
            }
        }
        if (SPLIT > 2) {
            cluster_arrive();
            cluster_wait();  // the sums are complete
            for (int base = thread_index(); active && base < TOTAL; base += BATCH * THREADS) {
                float4 r[BATCH];
                UNROLL
                for (int n = 0; n < BATCH; ++n) {
                    const int u = min(base + n * THREADS, TOTAL - 1);
                    r[n] = at4(peer(shared + Z, rank0 + u / EACH) + 4 * u);
                }
                UNROLL
                for (int n = 0; n < BATCH; ++n) {
                    const int u = base + n * THREADS;
                    if (u < TOTAL) add(u / H4, 4 * (u % H4), r[n]);
                }
            }
        }
        cluster_arrive();  // this block has read the parts of r; the end of the tile waits for it
    }
    return loss;
}

// The columns of a thread: taps tap .. tap+TAPS-1, by index in the run, and bins h .. h+3 of latent k. Taps past the
// last read the last; their filter is 0 and their sums are not stored.
struct Column {
    int tap, k, h, dot;
    bool exists;
};

DEVICE int row_of(const Column& c, int i) {
    return (TAP_GROUPS - 1) * TAPS + i < M ? i : min(c.tap + i, M - 1) - c.tap;
}

DEVICE Column column_at(int n) {
    const int c = thread_index() + n * THREADS;
    const int h4 = c % H4, k = c / H4 % KB, group = c / H4 / KB;
    return {group * TAPS, k, 4 * h4, group * H4 + h4, c < COLUMNS};
}

typedef float4 Sums[COLUMNS_EACH][TAPS];

// Compute the gradient of w_dec, and each column's part of the dots of e with w_dec over each run.
DEVICE void decode_gradient(float* shared, Sums& sums) {
    const int* keys = reinterpret_cast<const int*>(shared + KEYS);
    UNROLL
    for (int n = 0; n < COLUMNS_EACH; ++n) {
        const Column c = column_at(n);
        if (!c.exists) continue;
        float4 filter[TAPS];
        UNROLL
        for (int i = 0; i < TAPS; ++i)
            filter[i] = c.tap + i < M ? at4(shared + W_DEC + ((c.tap + i) * KB + c.k) * HP + c.h) : zero4();
        UNROLL_BY(1)
        for (int window = 0; window < OWN; ++window) {
            const int at = (HALO + window) * KB + c.k, key = keys[at];
            float along = 0.0f;
            if (key != NO_KEY) {
                const float value = shared[VALUES + at];
                const float* e = shared + ERROR + (key / KB - HALO * P + c.tap) * HS + c.h;
                UNROLL
                for (int i = 0; i < TAPS; ++i) {
                    const float4 error = at4(static_cast<const float*>(e) + row_of(c, i) * HS);
                    add_scaled(sums[n][i], value, error);
                    along = dot(error, filter[i], along);
                }
            }
            shared[DOTS + (window * KB + c.k) * (TAP_GROUPS * H4) + c.dot] = along;
        }
    }
}

// Compute the gradient of own values, without 2 / B; return this thread's part of the penalty.
DEVICE double value_gradient(float* shared, const Launch& launch, const Place& place, const Tile& tile) {
    const bool noise = tile.item < place.run->noise_items;
    double loss = 0.0;
    for (int u = thread_index(); u < OWN * KB; u += THREADS) {
        const float value = shared[VALUES + HALO * KB + u];
        float gradient = 0.0f;
        UNROLL_BY(4)
        for (int n = 0; n < TAP_GROUPS * H4; ++n) gradient += shared[DOTS + u * (TAP_GROUPS * H4) + n];
        const int k = place.part * KB + u % KB;
        if (noise && k < K) {
            const float share = place.run->foreground[k];
            const double weight = place.run->latent_weight * share * share;
            gradient += (float)weight * value;
            loss += weight * value * value;
        }
        shared[GRADS + u] = value > 0.0f ? gradient : NEGATIVE_SLOPE ? launch.negative_slope * gradient : 0.0f;
    }
    return loss;
}

// Compute the gradient of w_enc.
DEVICE void encode_gradient(float* shared, Sums& sums) {
    const int* keys = reinterpret_cast<const int*>(shared + KEYS);
    UNROLL
    for (int n = 0; n < COLUMNS_EACH; ++n) {
        const Column c = column_at(n);
        if (!c.exists) continue;
        UNROLL_BY(1)
        for (int window = 0; window < OWN; ++window) {
            const float gradient = shared[GRADS + window * KB + c.k];
            const int key = keys[(HALO + window) * KB + c.k];
            if (key == NO_KEY) continue;
            const float* xn = shared + XN + (key / KB + c.tap) * HS + c.h;
            UNROLL
            for (int i = 0; i < TAPS; ++i)
                add_scaled(sums[n][i], gradient, at4(static_cast<const float*>(xn) + row_of(c, i) * HS));
        }
    }
}

// Store the block's sums for one filter bank as (KB, M, HP), by index in the run.
DEVICE void store_gradients(float* to, const Sums& sums) {
    UNROLL
    for (int n = 0; n < COLUMNS_EACH; ++n) {
        const Column c = column_at(n);
        if (!c.exists) continue;
        UNROLL
        for (int i = 0; i < TAPS; ++i)
            if (c.tap + i < M) at4(to + (c.k * M + c.tap + i) * HP + c.h) = sums[n][i];
    }
}

// A weight, the optimizer's state for it, and their addresses; none in the padding.
struct Weight {
    float *weight, *first, *second;
    float w, a, b;
};

// Number j of a part's gradients (2, KB, M, HP).
DEVICE Weight weight_at(const TrainingRun& run, int part, int j) {
    const int bank = j / GRADIENT, h = j % HP, i = j / HP % M, k = part * KB + j / HP / M % KB;
    if (h >= H || k >= K) return {nullptr, nullptr, nullptr, 0.0f, 0.0f, 0.0f};
    const int at = bank ? (i * K + k) * H + h : ((M - 1 - i) * H + h) * K + k;
    float *weight = run.weights[bank] + at, *first = run.state[bank][0] + at;
    float* second = run.state[bank][1] ? run.state[bank][1] + at : nullptr;
    return {weight, first, second, load_shared_by_all(weight), *first, second ? *second : 0.0f};
}

// Let one thread each compute 1 - beta1^t and 1 - beta2^t for Adam: a power takes longer than the update of a weight.
DEVICE void correct(float* shared, const Launch& launch, const TrainingRun& run, unsigned int step) {
    const int i = thread_index();
    if (launch.optimizer == ADAM && i < 2) shared[CORRECTION + i] = (float)(1.0 - pow(run.options[1 + i], step + 1.0));
}

// The optimizer's settings for a step.
struct Rule {
    int optimizer;
    float options[4], rest[2], correction[2], decay;
};

// After a barrier that follows correct().
DEVICE Rule rule_at(const float* shared, const Launch& launch, const TrainingRun& run) {
    Rule rule;
    rule.optimizer = launch.optimizer;
    rule.decay = (float)run.weight_decay;
    UNROLL
    for (int i = 0; i < 4; ++i) rule.options[i] = (float)run.options[i];
    UNROLL
    for (int i = 0; i < 2; ++i) {
        rule.rest[i] = (float)(1.0 - run.options[1 + i]);
        rule.correction[i] = shared[CORRECTION + i];
    }
    return rule;
}

DEVICE void update(const Rule& rule, Weight& at, float gradient) {
    if (!at.weight) return;
    const float g = gradient + rule.decay * at.w;
    const float rate = rule.options[0];
    if (rule.optimizer == ADADELTA) {
        const float rho = rule.options[1], epsilon = rule.options[2];
        const float square = rho * at.a + rule.rest[0] * g * g;
        const float change = sqrtf(at.b + epsilon) / sqrtf(square + epsilon) * g;
        *at.first = square;
        *at.second = rho * at.b + rule.rest[0] * change * change;
        *at.weight = at.w - rate * change;
    } else if (rule.optimizer == ADAM) {
        const float mean = rule.options[1] * at.a + rule.rest[0] * g;
        const float square = rule.options[2] * at.b + rule.rest[1] * g * g;
        *at.first = mean;
        *at.second = square;
        *at.weight = at.w - rate / rule.correction[0] * mean / (sqrtf(square / rule.correction[1]) + rule.options[3]);
    } else {
        const float velocity = rule.options[1] * at.a + g;
        *at.first = velocity;
        *at.weight = at.w - rate * (rule.optimizer == NESTEROV ? g + rule.options[1] * velocity : velocity);
    }
}

// Update this block's slice of the weights: add the partial gradients of all clusters in order, take the optimizer's
// step.
DEVICE void update_slice(float* shared, const Launch& launch, const Place& place, const Rule& rule) {
    constexpr int TOTAL = SPLIT * 2 * GRADIENT / 4;
    const int each = ceil_div(TOTAL, place.blocks);
    const int begin = place.block * each, end = min(begin + each, TOTAL);
    const int width = min(each, THREADS / 4), parts = min(THREADS / width, place.clusters);
    const float scale = 2.0f / launch.batch;
    float* scratch = shared + SCRATCH;
    for (int base = begin; base < end; base += width) {
        const int count = min(width, end - base), column = thread_index() % width, part = thread_index() / width;
        const int j = 4 * base + thread_index();
        Weight weight;
        if (thread_index() < 4 * count) weight = weight_at(*place.run, j / (2 * GRADIENT), j % (2 * GRADIENT));
        if (part < parts && column < count) {
            const float4* from = reinterpret_cast<const float4*>(launch.partials) + base + column;
            const int last = place.clusters * (part + 1) / parts;
            constexpr int BATCH = 12;  // loads of a thread on their way at once
            float4 sum = zero4();
            for (int first = place.clusters * part / parts; first < last; first += BATCH) {
                float4 partial[BATCH];
                UNROLL
                for (int n = 0; n < BATCH; ++n)
                    partial[n] = first + n < last ? load_shared_by_all(from + (size_t)(first + n) * TOTAL) : zero4();
                UNROLL
                for (int n = 0; n < BATCH; ++n) add_scaled(sum, 1.0f, partial[n]);
            }
            at4(scratch + 4 * (part * width + column)) = sum;
        }
        block_barrier();
        if (thread_index() < 4 * count) {
            float gradient = 0.0f;
            for (int p = 0; p < parts; ++p) gradient += scratch[4 * p * width + thread_index()];
            update(rule, weight, scale * gradient);
        }
        block_barrier();
    }
}

// Add a share of the gradients over the blocks of the cluster that have the same latents, in an order that depends on
// the share. Calls use(j, sums) with the first of four numbers in (2, KB, M, HP).
template <class Use>
DEVICE void add_over_cluster(float* shared, const Place& place, Use use) {
    constexpr int TOTAL = 2 * GRADIENT / 4;
    const int mine = cluster_rank() / SPLIT;
    for (int e = TOTAL * mine / LANES + thread_index(); e < TOTAL * (mine + 1) / LANES; e += THREADS) {
        float4 sum = at4(static_cast<const float*>(shared) + 4 * e);
        UNROLL
        for (int other = 1; other < LANES; ++other)
            add_scaled(sum, 1.0f, at4(peer(shared, (mine + other) % LANES * SPLIT + place.part) + 4 * e));
        use(4 * e, sum);
    }
}

// Memory for the blocks' parts of a step's loss. The first block adds them while others write those of the next step.
DEVICE double* loss_parts(const Launch& launch, int step) {
    return launch.loss_partials + (size_t)(step % 2) * block_count();
}

// Compute a step's loss in the run's first block: add all blocks' parts in order.
DEVICE void store_loss(float* shared, const Launch& launch, const Place& place, int step) {
    if (place.block != 0) return;
    const double* parts = loss_parts(launch, step) + block_index();
    double sum = 0.0;
    for (int b = thread_index(); b < place.blocks; b += THREADS) sum += load_shared_by_all(parts + b);
    sum = block_sum(shared + SCRATCH, sum, false);
    const int run = POPULATION ? block_index() / CLUSTER : 0;
    if (thread_index() == 0) launch.losses[(size_t)run * launch.steps + step] = sum / launch.batch;
}

DEVICE Place place_at(float* shared, const Launch& launch) {
    Place place;
    int* words = reinterpret_cast<int*>(shared + RUN);
    const int run = POPULATION ? block_index() / CLUSTER : 0;
    for (int i = thread_index(); i < (int)(sizeof(TrainingRun) / 4); i += THREADS)
        words[i] = reinterpret_cast<const int*>(launch.runs + run)[i];
    place.run = reinterpret_cast<const TrainingRun*>(words);
    place.part = cluster_rank() % SPLIT;
    place.cluster = POPULATION ? 0 : block_index() / CLUSTER;
    place.clusters = POPULATION ? 1 : block_count() / CLUSTER;
    place.lane = place.cluster * LANES + cluster_rank() / SPLIT;
    place.lanes = place.clusters * LANES;
    place.block = POPULATION ? cluster_rank() : block_index();
    place.blocks = POPULATION ? CLUSTER : block_count();
    place.tiles_each = ceil_div(ceil_div(launch.frames, P), OWN);
    place.tiles = place.tiles_each * launch.batch;
    block_barrier();
    return place;
}

// Process a tile that has been drawn. With SPLIT every block of a cluster calls this equally often, `active` or not.
// For the step's last tile, the gradient of w_dec is stored to `dec_to` while that of w_enc is computed.
DEVICE double train_on_tile(float* shared, const Launch& launch, const Place& place, int number, Sums& enc, Sums& dec,
                            float* dec_to) {
    const bool active = number < place.tiles;
    const Tile tile = tile_at(place, number);
    if (active) {
        encode(shared);
        block_barrier();  // z is complete
        pool(shared, launch, tile);
        block_barrier();  // values and keys are complete
        sort(shared);
        copies_done<0>();
        block_barrier();  // the lists and w_dec are complete
    }
    double loss = decode(shared, launch, place, tile, active);
    block_barrier();  // e is complete
    if (active) decode_gradient(shared, dec);
    if (dec_to) store_gradients(dec_to, dec);
    if (active) {
        block_barrier();  // the dots are complete
        loss += value_gradient(shared, launch, place, tile);
        block_barrier();  // the gradients of the values are complete
        encode_gradient(shared, enc);
    }
    if (SPLIT > 1) cluster_wait();  // the other blocks have read this block's part of r
    return loss;                    // the next draw and the sum of losses start with a barrier
}

KERNEL(THREADS, CLUSTER) train_steps(Launch launch) {
    float* shared = shared_memory();
    const Place place = place_at(shared, launch);
    unsigned int barriers = place.run->barriers;
    if (place.lane < place.tiles) draw(shared, launch, place, place.lane, place.run->step);
    for (int step = 0; step < launch.steps; ++step) {
        load_weights(shared, place);
        block_barrier();  // the first tile and w_enc are loaded
        Sums enc, dec;
        UNROLL
        for (int n = 0; n < COLUMNS_EACH; ++n) {
            UNROLL
            for (int i = 0; i < TAPS; ++i) enc[n][i] = dec[n][i] = zero4();
        }
        float* part = launch.partials + (size_t)(place.cluster * SPLIT + place.part) * 2 * GRADIENT;
        double loss = 0.0;
        const int rounds = ceil_div(place.tiles, place.lanes);
        for (int round = 0; round < rounds; ++round) {
            const int number = place.lane + round * place.lanes;
            if (round > 0 && number < place.tiles) {
                draw(shared, launch, place, number, place.run->step + step);
                block_barrier();  // the tile is loaded
            }
            float* dec_to = ADDED_IN_CLUSTER || round + 1 < rounds ? nullptr : part + GRADIENT;
            if (SPLIT > 1 || number < place.tiles || dec_to)
                loss += train_on_tile(shared, launch, place, number, enc, dec, dec_to);
        }
        if (place.lane >= place.tiles) {  // there was no tile
            copies_done<0>();
            block_barrier();  // no thread's copy of w_dec may land on a gradient
        }
        if (ADDED_IN_CLUSTER) {
            store_gradients(shared, enc);
            store_gradients(shared + GRADIENT, dec);
            cluster_arrive();
        }
        if (!POPULATION) {
            if (ADDED_IN_CLUSTER) {
                cluster_wait();  // the cluster's gradients are complete
                add_over_cluster(shared, place, [&](int j, const float4& sum) { at4(part + j) = sum; });
            } else {
                store_gradients(part, enc);
            }
            grid_arrive(launch.counter);
        }
        // While the barrier completes. A loss is read a step later: its parts are written.
        correct(shared, launch, *place.run, place.run->step + step);
        loss = block_sum(shared + SCRATCH, loss, false);
        const Rule rule = rule_at(shared, launch, *place.run);
        if (thread_index() == 0) loss_parts(launch, step)[block_index()] = loss;
        if (step > 0) store_loss(shared, launch, place, step - 1);
        if (POPULATION) {
            cluster_wait();  // the run's gradients are complete
            const float scale = 2.0f / launch.batch;
            add_over_cluster(shared, place, [&](int j, const float4& sum) {
                Weight weights[4];
                UNROLL
                for (int n = 0; n < 4; ++n) weights[n] = weight_at(*place.run, place.part, j + n);
                update(rule, weights[0], scale * sum.x);
                update(rule, weights[1], scale * sum.y);
                update(rule, weights[2], scale * sum.z);
                update(rule, weights[3], scale * sum.w);
            });
            cluster_arrive();
        } else {
            grid_wait(launch.counter, ++barriers);  // grid barrier 1: all partial gradients are written
            update_slice(shared, launch, place, rule);
            grid_arrive(launch.counter);
        }
        if (step + 1 < launch.steps && place.lane < place.tiles)
            draw(shared, launch, place, place.lane, place.run->step + step + 1);
        if (POPULATION)
            cluster_wait();  // the new weights are complete, and this block's gradients have been read
        else
            grid_wait(launch.counter, ++barriers);  // grid barrier 2: all weights are written, all partials read
    }
    if (launch.steps > 0) store_loss(shared, launch, place, launch.steps - 1);
    // A graph repeats a launch with the same arguments. All blocks of the run have read their copy.
    if (place.block == 0 && thread_index() == 0) {
        TrainingRun& run = launch.runs[POPULATION ? block_index() / CLUSTER : 0];
        run.step = place.run->step + launch.steps;
        run.barriers = barriers;
    }
}
