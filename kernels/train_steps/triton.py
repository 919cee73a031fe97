# pyright: reportPossiblyUnboundVariable=false, reportAssignmentType=false, reportArgumentType=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# ruff: noqa: RUF005
# What a constexpr decides is decided when a kernel is compiled, and tuples grow there by `+`; no checker follows that.
"""train_steps on a GPU, in Triton, for large batches: the items of a step go through a fixed set of programs.

A step is four kernels, and the number of the step is a word of the GPU's memory:

    draw      the first row of every crop, by Philox
    learn     for each item: mix and normalise, encode and pool, decode, error, dots, gradients of the weights
    update    (one for each weight) the ordered sum of the programs' gradients, then the optimiser
    finish    the loss of the step; step and place for the next loss go up by one

so one captured graph of them is replayed for as many steps as are wanted, with nothing in between.

`learn` has a few programs to a multiprocessor (PER_PROCESSOR). Each takes every programs-th item through the whole
chain in a scratch of its own, (N + M - 1) * (2H + K) numbers that stay in the caches, so no batch is ever built, and
programs in different phases keep matrix units and load units busy side by side. Its phases:

    mix      source -> xn, the crops' sum normalised; frames outside the item stand there as the zeros that they are
    encode   dense, a matrix product over taps and bins -> values, positions; and u, the latents at their frames
    decode   dense too, over u -> e = r - x. Behind the pool one frame in P counts, yet scattering runs takes a load
             and a mask for each product, while at P 16 the product of u on the matrix units takes 8 times fewer cycles
             than that and the same loop as encode
    gather   along the runs of e: a latent's dot with its filter, and the gradient of w_dec, off the same loads
    turn     dots -> gradients of the values; u is cleared at its positions; the penalty
    gather   along the runs of xn: the gradient of w_enc

The three buffers are padded with M - 1 frames of zeros in all, so that a run never meets an end and no load of a run
needs a mask on frames. `gather` is exact float32 and sparse: its sums for BLOCK_K latents and TAPS taps stay in
registers for all windows of an item, at one 16-byte load for four (encoder) or eight (decoder) products.

Products of encode and decode: TF32 where `torch.backends.cuda.matmul.allow_tf32`, else three TF32 products each, which
is float32-grade; bfloat16 where the source is bfloat16. Sums are float32 in each case, the error's target is the
stored (rounded) magnitude, and of the gradients nothing is rounded but the products in r. Partial gradients are one to
a program, so the bits depend on shapes and on the card's number of multiprocessors.

Several runs are taken one after the other.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from ..encode.triton import chunk_of
from ..optimiser import RULES
from ..optimiser.triton import changed
from ..registry import interpreting
from ..triton_common import launch, power_of_two, tl, triton
from .run import Run

# Words of `numbers`, int64 on the GPU; from TABLES on group_first, group_starts (G,), starts_before, shift (R,).
STEP, PLACE, KEY_LOW, KEY_HIGH, NOISE_ITEMS, TABLES = range(6)
_NOISE_ITEMS, _TABLES = tl.constexpr(NOISE_ITEMS), tl.constexpr(TABLES)


@triton.jit
def philox_word(step, item, group, key_low, key_high):
    """The first word of Philox-4x32-10 at counter (step, item, group, 0); all are uint32."""
    word, _, _, _ = tl.philox_impl(step, item, group, group * 0, key_low, key_high, 10)
    return word


@triton.jit(do_not_specialize=["batch", "slots", "signal_groups", "groups", "recordings"])
def draw_kernel(
    starts_ptr,  # (B, slots) int64: the first row in the source of each crop of an item
    numbers_ptr,
    batch,  # B
    slots,  # crops of an item at most
    signal_groups,
    groups,  # G
    recordings,  # R
    BITS: tl.constexpr,  # R < 2**BITS
    BLOCK: tl.constexpr,
):
    offs_b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    step = tl.load(numbers_ptr).to(tl.uint32)
    key_low = tl.load(numbers_ptr + 2).to(tl.uint32)
    key_high = tl.load(numbers_ptr + 3).to(tl.uint32)
    noise_only = offs_b < tl.load(numbers_ptr + _NOISE_ITEMS)
    first_ptr = numbers_ptr + _TABLES
    before_ptr = first_ptr + 2 * groups
    for slot in range(slots):
        group = tl.where(noise_only, signal_groups, 0) + slot
        drawn = (offs_b < batch) & (group < tl.where(noise_only, groups, signal_groups))
        word = philox_word(step, offs_b.to(tl.uint32), group.to(tl.uint32), key_low, key_high)
        count = tl.load(first_ptr + groups + group, mask=drawn, other=0)
        crop = tl.load(first_ptr + group, mask=drawn, other=0)
        crop += ((word.to(tl.uint64) * count.to(tl.uint64)) >> 32).to(tl.int64)
        low = tl.zeros((BLOCK,), tl.int32)  # starts_before[low] <= crop < starts_before[high]
        high = tl.zeros((BLOCK,), tl.int32) + recordings
        for _ in tl.static_range(BITS):
            middle = (low + high) // 2
            right = tl.load(before_ptr + middle, mask=drawn, other=0) <= crop
            low = tl.where(right, middle, low)
            high = tl.where(right, high, middle)
        row = crop + tl.load(before_ptr + recordings + low, mask=drawn, other=0)
        tl.store(starts_ptr + offs_b.to(tl.int64) * slots + slot, row, mask=drawn)


@triton.jit
def _first_largest(key, frame):
    """The largest key along axis 1, and the smallest frame that has it."""
    largest = tl.max(key, axis=1)
    return largest, tl.min(tl.where(key == tl.expand_dims(largest, 1), frame, 2**30), axis=1)


@triton.jit
def _convolve(
    run_ptrs,  # (ROWS,): column 0 of the first frame of each row's run
    columns,
    w_ptr,  # (M, outputs, columns): neighbours along the sum are neighbours in memory, as TF32 wants them
    products,  # M + FOLD - 1, not known to the compiler: it would unroll the loop and run out of registers
    output_start,
    outputs,
    TAPS: tl.constexpr,  # M
    FOLD: tl.constexpr,
    DOT: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    ONE: tl.constexpr,  # columns <= BLOCK_IN
    STAGES: tl.constexpr,
):
    """(ROWS, FOLD * BLOCK_OUT): the products of FOLD neighbouring runs, of TAPS frames each, with the filters.

    The last tap meets the first frame of a run. FOLD runs share loads: TAPS + FOLD - 1 for all, not TAPS for each.
    """
    offs_j = tl.arange(0, FOLD * BLOCK_OUT)
    fold = offs_j // BLOCK_OUT
    offs_o = output_start + offs_j % BLOCK_OUT
    mask_o = offs_o < outputs
    z = tl.zeros((ROWS, FOLD * BLOCK_OUT), tl.float32)
    for column_start in range(0, BLOCK_IN if ONE else columns, BLOCK_IN):
        offs_c = column_start + tl.arange(0, BLOCK_IN)
        mask_c = offs_c < columns
        in_ptrs = run_ptrs[:, None] + offs_c[None, :]
        first_tap = TAPS - 1 + fold
        w_ptrs = w_ptr + ((first_tap * outputs + offs_o) * columns)[None, :] + offs_c[:, None]
        for i in tl.range(0, products, num_stages=STAGES, disable_licm=True):
            mask_j = mask_o & (first_tap - i < TAPS) & (first_tap >= i)
            a = tl.load(in_ptrs, mask=mask_c[None, :], other=0.0, cache_modifier=".ca")
            w = tl.load(w_ptrs, mask=mask_c[:, None] & mask_j[None, :], other=0.0, cache_modifier=".ca")
            if DOT == "bf16":
                z = tl.dot(a.to(tl.bfloat16), w.to(tl.bfloat16), z)
            else:
                z = tl.dot(a, w, z, input_precision=DOT)
            in_ptrs += columns
            w_ptrs -= outputs * columns
    return z


@triton.jit
def _accumulate(
    partial_ptr,  # (M, K, H) of this program
    dots_ptr,  # (W, K)
    buffer_ptr,  # (N + M - 1, H)
    rows_ptr,  # (M, K, H)
    amplitudes_ptr,  # (W, K)
    positions_ptr,  # (W, K)
    done,  # 0 where the partial sum starts here
    windows,
    bins,
    latents,
    DOTS: tl.constexpr,  # whether the dots with the rows are wanted too
    ALL_TAPS: tl.constexpr,  # M
    TAPS: tl.constexpr,  # taps at a time
    BLOCK_K: tl.constexpr,
    BLOCK_H: tl.constexpr,
    ONE: tl.constexpr,  # TAPS and BLOCK_H cover all
):
    """partial[i, k] += amplitude * the run's frame i, over all windows; dots = the runs' products with the rows."""
    bin_stop = BLOCK_H if ONE else bins
    for latent_start in range(0, latents, BLOCK_K):
        offs_k = latent_start + tl.arange(0, BLOCK_K)
        mask_k = offs_k < latents
        for bin_start in range(0, bin_stop, BLOCK_H):
            offs_h = bin_start + tl.arange(0, BLOCK_H)
            mask_h = offs_h < bins
            mask = mask_k[:, None] & mask_h[None, :]
            mask_sum = (offs_k < tl.where(done > 0, latents, 0))[:, None] & mask_h[None, :]
            for tap_start in tl.static_range(0, ALL_TAPS, TAPS):
                offs_row = (tap_start * latents + offs_k[:, None]) * bins + offs_h[None, :]
                sums = ()
                rows = ()
                for i in tl.static_range(TAPS):
                    sums = sums + (tl.zeros((BLOCK_K, BLOCK_H), tl.float32),)
                    if DOTS and tap_start + i < ALL_TAPS:
                        rows = rows + (tl.load(rows_ptr + offs_row + i * latents * bins, mask=mask, other=0.0),)
                for window in tl.range(0, windows, num_stages=1, disable_licm=True):
                    offs_w = window * latents + offs_k
                    offs_t = tl.load(positions_ptr + offs_w, mask=mask_k, other=0)
                    amplitude = tl.load(amplitudes_ptr + offs_w, mask=mask_k, other=0.0)
                    run_ptrs = buffer_ptr + tap_start * bins + (offs_t[:, None] * bins + offs_h[None, :])
                    product = tl.zeros((BLOCK_K, BLOCK_H), tl.float32)
                    new = ()
                    for i in tl.static_range(TAPS):
                        if tap_start + i < ALL_TAPS:
                            run = tl.load(run_ptrs + i * bins, mask=mask, other=0.0)
                            if DOTS:
                                product += run * rows[i]
                            new = new + (sums[i] + amplitude[:, None] * run,)
                        else:
                            new = new + (sums[i],)
                    sums = new
                    if DOTS:
                        dot = tl.sum(product, axis=1)
                        if not ONE:
                            mask_dot = offs_k < tl.where(bin_start + tap_start > 0, latents, 0)
                            dot += tl.load(dots_ptr + offs_w, mask=mask_dot, other=0.0)
                        tl.store(dots_ptr + offs_w, dot, mask=mask_k)
                for i in tl.static_range(TAPS):
                    if tap_start + i < ALL_TAPS:
                        partial_ptrs = partial_ptr + offs_row + i * latents * bins
                        before = tl.load(partial_ptrs, mask=mask_sum, other=0.0)
                        tl.store(partial_ptrs, before + sums[i], mask=mask)
                if DOTS and not ONE:
                    tl.debug_barrier()  # dots of these bins and taps are read back


@triton.jit(do_not_specialize=["batch", "frames", "windows", "pool", "slots", "signal_groups", "groups", "products"])
def learn_kernel(
    partials_ptr,  # (programs, 2, M, K, H): of w_enc, its taps from the last to the first, then of w_dec
    losses_ptr,  # (programs,) float64
    xn_ptr,  # (programs, N + M - 1, H): M // 2 frames of zeros stand before an item
    e_ptr,  # (programs, N + M - 1, H), likewise
    u_ptr,  # (programs, N + M - 1, K): zero wherever no item is in work; (M - 1) // 2 frames stand before it
    values_ptr,  # (programs, W, K)
    positions_ptr,  # (programs, W, K) int32
    dots_ptr,  # (programs, W, K)
    source_ptr,  # (T, H)
    starts_ptr,  # (B, slots) int64
    mean_ptr,  # (H,)
    std_ptr,  # (H,)
    foreground_ptr,  # (K,)
    w_enc_ptr,  # (M, K, H), which is w_enc with its last two axes swapped
    w_dec_ptr,  # (M, H, K), likewise
    rows_ptr,  # w_dec itself, (M, K, H)
    numbers_ptr,
    settings_ptr,  # float64: what an active foreground latent of a noise-only item costs, then the optimiser's options
    batch,  # B
    frames,  # N
    windows,  # W
    pool,  # P
    bins,  # H
    latents,  # K
    slots,
    signal_groups,
    groups,
    products,  # M + FOLD - 1
    TAPS: tl.constexpr,  # M
    FOLD: tl.constexpr,  # neighbouring frames in a row of the dense products
    DOT: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_BINS: tl.constexpr,
    BLOCK_LATENTS: tl.constexpr,
    ONE_CHUNK: tl.constexpr,  # P <= BLOCK_P
    ONE_BINS: tl.constexpr,  # H <= BLOCK_BINS
    ONE_LATENTS: tl.constexpr,  # K <= BLOCK_LATENTS
    RUN_TAPS: tl.constexpr,
    RUN_K: tl.constexpr,
    RUN_H: tl.constexpr,
    ONE_RUN: tl.constexpr,
    STAGES: tl.constexpr,
):
    ROWS: tl.constexpr = BLOCK_W * BLOCK_P // FOLD
    FLAT: tl.constexpr = 1024
    NAN_KEY: tl.constexpr = 0x7FC00000  # the bits of a NaN: above those of infinity
    BEFORE: tl.constexpr = TAPS // 2
    program = tl.program_id(0)
    padded = (frames + (TAPS + FOLD - 2)).to(tl.int64)
    xn_ptr += program * padded * bins
    e_ptr += program * padded * bins
    u_ptr += program * padded * latents
    values_ptr += program.to(tl.int64) * windows * latents
    positions_ptr += program.to(tl.int64) * windows * latents
    dots_ptr += program.to(tl.int64) * windows * latents
    partials_ptr += program.to(tl.int64) * (2 * TAPS) * bins * latents
    noise_items = tl.load(numbers_ptr + _NOISE_ITEMS)
    latent_weight = tl.load(settings_ptr).to(tl.float32)
    weights = bins * latents
    rows = tl.arange(0, ROWS)
    loss = tl.full((), 0.0, tl.float64)

    for item in tl.range(program, batch, tl.num_programs(0), num_stages=1, disable_licm=True):
        noise_only = item < noise_items
        # mix
        crops = tl.where(noise_only, groups - signal_groups, signal_groups)
        item_starts = starts_ptr + item * slots.to(tl.int64)
        for bin_start in range(0, BLOCK_BINS if ONE_BINS else bins, BLOCK_BINS):
            offs_h = bin_start + tl.arange(0, BLOCK_BINS)
            mask_h = offs_h < bins
            mean = tl.load(mean_ptr + offs_h, mask=mask_h, other=0.0)
            scale = 1.0 / tl.load(std_ptr + offs_h, mask=mask_h, other=1.0)
            for frame_start in tl.range(0, frames, ROWS, num_stages=1, disable_licm=True):
                offs_n = frame_start + rows
                mask = (offs_n < frames)[:, None] & mask_h[None, :]
                offs_x = offs_n[:, None] * bins + offs_h[None, :]
                x = tl.zeros((ROWS, BLOCK_BINS), tl.float32)
                for crop in range(crops):
                    crop_ptr = source_ptr + tl.load(item_starts + crop) * bins
                    x += tl.load(crop_ptr + offs_x, mask=mask, other=0.0).to(tl.float32)
                tl.store(xn_ptr + BEFORE * bins + offs_x, (x - mean[None, :]) * scale[None, :], mask=mask)
        tl.debug_barrier()

        # encode
        for window_start in tl.range(0, windows, BLOCK_W, num_stages=1, disable_licm=True):
            for latent_start in range(0, BLOCK_LATENTS if ONE_LATENTS else latents, BLOCK_LATENTS):
                best_key = tl.full((BLOCK_W, BLOCK_LATENTS), -1, tl.int32)
                best_frame = tl.zeros((BLOCK_W, BLOCK_LATENTS), tl.int32)
                for chunk in range(0, BLOCK_P if ONE_CHUNK else pool, BLOCK_P):
                    row_inside = chunk + rows % (BLOCK_P // FOLD) * FOLD
                    row_frame = (window_start + rows // (BLOCK_P // FOLD)) * pool + row_inside
                    z = _convolve(
                        *(xn_ptr + tl.minimum(row_frame, frames - 1) * bins, bins),
                        *(w_enc_ptr, products, latent_start, latents),
                        *(TAPS, FOLD, DOT, ROWS, BLOCK_BINS, BLOCK_LATENTS, ONE_BINS, STAGES),
                    )
                    # Non-negative floats order as their bits do: an integer maximum rectifies and keeps a NaN.
                    key = tl.where(z > 0, z.to(tl.int32, bitcast=True), 0)
                    key = tl.where(z != z, NAN_KEY, key)
                    key = tl.reshape(key, (ROWS, FOLD, BLOCK_LATENTS))
                    inside = row_inside[:, None] + tl.arange(0, FOLD)[None, :]
                    frame = row_frame[:, None] + tl.arange(0, FOLD)[None, :]
                    used = (inside < pool) & (frame < frames)
                    key = tl.where(used[:, :, None], key, -1)
                    key, frame = _first_largest(key, frame[:, :, None])
                    key = tl.reshape(key, (BLOCK_W, BLOCK_P // FOLD, BLOCK_LATENTS))
                    frame = tl.reshape(frame, (BLOCK_W, BLOCK_P // FOLD, BLOCK_LATENTS))
                    key, frame = _first_largest(key, frame)
                    better = key > best_key
                    best_frame = tl.where(better, frame, best_frame)
                    best_key = tl.where(better, key, best_key)
                offs_w = window_start + tl.arange(0, BLOCK_W)
                offs_k = latent_start + tl.arange(0, BLOCK_LATENTS)
                mask = (offs_w < windows)[:, None] & (offs_k < latents)[None, :]
                value = best_key.to(tl.float32, bitcast=True)
                offs_v = offs_w[:, None] * latents + offs_k[None, :]
                tl.store(values_ptr + offs_v, value, mask=mask)
                tl.store(positions_ptr + offs_v, best_frame, mask=mask)
                u_ptrs = u_ptr + (best_frame + (TAPS - 1 - BEFORE)) * latents + offs_k[None, :]
                tl.store(u_ptrs, value, mask=mask)
        tl.debug_barrier()

        # decode
        for frame_start in tl.range(0, frames, ROWS * FOLD, num_stages=1, disable_licm=True):
            offs_n = frame_start + rows * FOLD
            for bin_start in range(0, BLOCK_BINS if ONE_BINS else bins, BLOCK_BINS):
                r = _convolve(
                    *(u_ptr + tl.minimum(offs_n, frames - 1) * latents, latents),
                    *(w_dec_ptr, products, bin_start, bins),
                    *(TAPS, FOLD, DOT, ROWS, BLOCK_LATENTS, BLOCK_BINS, ONE_LATENTS, STAGES),
                )
                offs_j = tl.arange(0, FOLD * BLOCK_BINS)
                fold = offs_j // BLOCK_BINS
                offs_h = bin_start + offs_j % BLOCK_BINS
                mask_h = offs_h < bins
                mask = (offs_n[:, None] + fold[None, :] < frames) & mask_h[None, :]
                offs_x = (BEFORE + offs_n[:, None]) * bins + (fold * bins + offs_h)[None, :]
                mean = tl.load(mean_ptr + offs_h, mask=mask_h, other=0.0)
                std = tl.load(std_ptr + offs_h, mask=mask_h, other=1.0)
                x = tl.load(xn_ptr + offs_x, mask=mask, other=0.0) * std[None, :] + mean[None, :]
                error = tl.where(mask, r - x, 0.0)
                tl.store(e_ptr + offs_x, error, mask=mask)
                loss += tl.sum(tl.sum(error * error, axis=1), axis=0)
        tl.debug_barrier()

        # gather along e
        dec_partial_ptr = partials_ptr + TAPS * weights
        _accumulate(
            *(dec_partial_ptr, dots_ptr, e_ptr, rows_ptr, values_ptr, positions_ptr, item - program),
            *(windows, bins, latents, True, TAPS, RUN_TAPS, RUN_K, RUN_H, ONE_RUN),
        )
        tl.debug_barrier()

        # turn
        item_weight = tl.where(noise_only, latent_weight, 0.0)
        for first in tl.range(0, windows * latents, FLAT, num_stages=1, disable_licm=True):
            offs_v = first + tl.arange(0, FLAT)
            mask_v = offs_v < windows * latents
            offs_k = offs_v % latents
            value = tl.load(values_ptr + offs_v, mask=mask_v, other=0.0)
            position = tl.load(positions_ptr + offs_v, mask=mask_v, other=0)
            foreground = tl.load(foreground_ptr + offs_k, mask=mask_v, other=0.0)
            cost = item_weight * foreground * foreground * value
            grad = tl.load(dots_ptr + offs_v, mask=mask_v, other=0.0) + cost
            tl.store(dots_ptr + offs_v, tl.where(value > 0, grad, 0.0), mask=mask_v)
            tl.store(u_ptr + (position + (TAPS - 1 - BEFORE)) * latents + offs_k, 0.0, mask=mask_v)
            loss += tl.sum(cost * value, axis=0)
        tl.debug_barrier()

        # gather along xn
        _accumulate(
            *(partials_ptr, dots_ptr, xn_ptr, rows_ptr, dots_ptr, positions_ptr, item - program),
            *(windows, bins, latents, False, TAPS, RUN_TAPS, RUN_K, RUN_H, ONE_RUN),
        )
        tl.debug_barrier()
    tl.store(losses_ptr + program, loss)


@triton.jit
def _power(base, exponent):
    """base ** exponent, float64, for a whole exponent >= 0: the same bits whichever step was the first."""
    result = tl.full((), 1.0, tl.float64)
    while exponent > 0:
        result = tl.where(exponent % 2 == 1, result * base, result)
        base *= base
        exponent = exponent // 2
    return result


@triton.jit(do_not_specialize=["programs", "taps", "scale"])
def update_kernel(
    weight_ptr,  # w_enc (M, H, K) or w_dec (M, K, H)
    filters_ptr,  # the same with its last two axes swapped
    first_ptr,  # the optimiser's state, laid out as the weight is
    second_ptr,  # None where the rule has one state tensor
    partials_ptr,  # (programs, 2, M, K, H), from the weight's own on
    numbers_ptr,
    settings_ptr,
    programs,
    taps,  # M
    bins,  # H
    latents,  # K
    scale,  # of the summed gradient: 2 / B
    ENCODER: tl.constexpr,
    RULE: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    weights = bins * latents
    offs_q = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask_q = offs_q < taps * weights
    sums = tl.zeros((BLOCK_PARTS, BLOCK), tl.float32)
    for start in range(0, programs, BLOCK_PARTS):
        offs_part = start + tl.arange(0, BLOCK_PARTS)
        partial_ptrs = partials_ptr + offs_part[:, None].to(tl.int64) * (2 * taps) * weights + offs_q[None, :]
        sums += tl.load(partial_ptrs, mask=(offs_part < programs)[:, None] & mask_q[None, :], other=0.0)
    gradient = tl.sum(sums, axis=0) * scale

    options_ptr = settings_ptr + 1
    rate = tl.load(options_ptr)
    kept1 = tl.load(options_ptr + 1)
    kept2 = kept1
    correction = kept1
    small = kept1
    if RULE == "adadelta":
        small = tl.load(options_ptr + 2)
    elif RULE == "adam":
        kept2 = tl.load(options_ptr + 2)
        small = tl.load(options_ptr + 3)
        count = tl.load(numbers_ptr) + 1
        rate = rate / (1.0 - _power(kept1, count))
        correction = 1.0 / (1.0 - _power(kept2, count))

    tap = offs_q // weights
    if ENCODER:
        tap = taps - 1 - tap
    offs_k = offs_q // bins % latents
    offs_h = offs_q % bins
    offs_kh = tap * weights + offs_k * bins + offs_h
    offs_hk = tap * weights + offs_h * latents + offs_k
    offs_i = offs_hk if ENCODER else offs_kh
    weight = tl.load(weight_ptr + offs_i, mask=mask_q, other=0.0)
    first = tl.load(first_ptr + offs_i, mask=mask_q, other=0.0)
    second = first
    if RULE != "sgd":
        second = tl.load(second_ptr + offs_i, mask=mask_q, other=0.0)
    weight, first, second = changed(
        *(weight, gradient, first, second, RULE, rate.to(tl.float32)),
        *(kept1.to(tl.float32), (1.0 - kept1).to(tl.float32), kept2.to(tl.float32), (1.0 - kept2).to(tl.float32)),
        *(correction.to(tl.float32), small.to(tl.float32)),
    )
    tl.store(weight_ptr + offs_i, weight, mask=mask_q)
    tl.store(filters_ptr + (offs_kh if ENCODER else offs_hk), weight, mask=mask_q)
    tl.store(first_ptr + offs_i, first, mask=mask_q)
    if RULE != "sgd":
        tl.store(second_ptr + offs_i, second, mask=mask_q)


@triton.jit(do_not_specialize=["programs", "batch"])
def finish_kernel(
    history_ptr,  # float64: the loss of each step of a launch
    losses_ptr,  # (programs,) float64
    numbers_ptr,
    programs,
    batch,
    BLOCK: tl.constexpr,
):
    total = tl.full((), 0.0, tl.float64)
    for start in range(0, programs, BLOCK):
        offs_i = start + tl.arange(0, BLOCK)
        total += tl.sum(tl.load(losses_ptr + offs_i, mask=offs_i < programs, other=0.0), axis=0)
    step = tl.load(numbers_ptr)
    place = tl.load(numbers_ptr + 1)
    tl.store(history_ptr + place, total / batch)
    tl.store(numbers_ptr, step + 1)
    tl.store(numbers_ptr + 1, place + 1)


DRAW = {"BLOCK": 128, "num_warps": 4}
UPDATE = {"BLOCK_PARTS": 64, "BLOCK": 32, "num_warps": 4}  # as add_up's: many parts at once, for the latency of memory
FINISH = {"BLOCK": 256, "num_warps": 4}


def tile_of(bins: int, latents: int, taps: int, pool: int, dot: str) -> dict[str, int | str]:
    """Block sizes and warps of `learn`, from shapes and the kind of product alone.

    A dense product takes 256 frames, two neighbours to a row. With 16 warps a thread has 128 registers, and needs 84 to
    113 where one block holds all bins, latents and taps. Loops over blocks need more, and so do three TF32 products for
    one, which hold both halves of each factor: 8 warps, of up to 255. So do loads of single numbers, where bins or
    latents are no multiple of 16: half of everything.
    """
    chunk = chunk_of(pool)
    fold = min(2, chunk)
    single = bins % 16 > 0 or latents % 16 > 0
    block_bins, block_latents = (power_of_two(n, 16, 16 if single else 32) for n in (bins, latents))
    run_h = power_of_two(bins, 16, 64)
    run_taps = triton.cdiv(taps, triton.cdiv(taps, 9))
    small = bins <= min(block_bins, run_h) and latents <= block_latents and taps == run_taps
    rows = 64 if single else 128
    return {
        "TAPS": taps,
        "FOLD": fold,
        "DOT": dot,
        "BLOCK_W": rows * fold // chunk,
        "BLOCK_P": chunk,
        "BLOCK_BINS": block_bins,
        "BLOCK_LATENTS": block_latents,
        "ONE_CHUNK": pool <= chunk,
        "ONE_BINS": bins <= block_bins,
        "ONE_LATENTS": latents <= block_latents,
        "RUN_TAPS": run_taps,
        "RUN_K": 8 * rows // run_h,
        "RUN_H": run_h,
        "ONE_RUN": taps == run_taps and bins <= run_h,
        "STAGES": 2,
        "num_warps": 16 if small and not single and dot != "tf32x3" else 8,
    }


PER_PROCESSOR = 1  # programs of `learn` on a multiprocessor: its registers are full with one
HISTORY = 4096  # steps between two looks at the losses
PLANS = 4  # plans that are kept


def processors(device: torch.device) -> int:
    """Multiprocessors of the card; the interpreter has two."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


def dot_of(source: Tensor) -> str:
    """How encode and decode multiply."""
    if source.dtype == torch.bfloat16:
        return "bf16"
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"


class Plan:
    """The buffers of a run's steps, and the graph that is replayed for them. It holds none of the run's own tensors."""

    def __init__(self, run: Run):
        batch, frames, bins, latents, taps, pool = run.shape
        crops, device = run.crops, run.w_enc.device
        self.groups, self.recordings = len(crops.group_first), len(crops.shift)
        self.slots = max(crops.signal_groups, self.groups - crops.signal_groups)
        self.programs = min(batch, PER_PROCESSOR * processors(device))
        self.tile = tile_of(bins, latents, taps, min(pool, frames), dot_of(crops.source))
        padded = frames + taps - 1 + self.tile["FOLD"] - 1
        kept = {"device": device, "dtype": torch.float32}
        self.xn, self.e = (torch.zeros(self.programs, padded, bins, **kept) for _ in range(2))
        self.u = torch.zeros(self.programs, padded, latents, **kept)
        self.values, self.dots = (torch.empty(self.programs, run.windows, latents, **kept) for _ in range(2))
        self.positions = torch.empty(self.programs, run.windows, latents, device=device, dtype=torch.int32)
        self.partials = torch.empty(self.programs, 2, taps, latents, bins, **kept)
        self.enc, self.dec = torch.empty(taps, latents, bins, **kept), torch.empty(taps, bins, latents, **kept)
        self.starts = torch.empty(batch, self.slots, device=device, dtype=torch.int64)
        self.numbers = torch.empty(TABLES + 2 * (self.groups + self.recordings), device=device, dtype=torch.int64)
        self.settings = torch.empty(1 + len(RULES[run.optimizer].options), device=device, dtype=torch.float64)
        self.losses = torch.empty(self.programs, device=device, dtype=torch.float64)
        self.history = torch.empty(HISTORY, device=device, dtype=torch.float64)
        self.graph: torch.cuda.CUDAGraph | None = None

    def begin(self, run: Run, first: int) -> None:
        """Gives the GPU what may differ between two uses of a plan; the next step is number `first`."""
        crops = run.crops
        words = first, 0, crops.seed & 0xFFFFFFFF, crops.seed >> 32, crops.noise_items
        tables = crops.group_first, crops.group_starts, crops.starts_before, crops.shift
        self.numbers.copy_(torch.cat([torch.tensor(words), *map(torch.from_numpy, tables)]))
        options = (run.options[name] for name in RULES[run.optimizer].options)
        self.settings.copy_(torch.tensor([run.latent_weight, *options], dtype=torch.float64))
        self.enc.copy_(run.w_enc.transpose(1, 2))
        self.dec.copy_(run.w_dec.transpose(1, 2))

    def draw(self, run: Run) -> None:
        """Launches the draw of a step's crops."""
        batch, signal_groups = run.crops.batch, run.crops.signal_groups
        launch(
            draw_kernel,
            triton.cdiv(batch, DRAW["BLOCK"]),
            *(self.starts, self.numbers, batch, self.slots, signal_groups, self.groups, self.recordings),
            BITS=self.recordings.bit_length(),
            **DRAW,
        )

    def step(self, run: Run) -> None:
        """Launches the kernels of one step."""
        batch, frames, bins, latents, taps, pool = run.shape
        signal_groups = run.crops.signal_groups
        self.draw(run)
        launch(
            learn_kernel,
            self.programs,
            *(self.partials, self.losses, self.xn, self.e, self.u, self.values, self.positions, self.dots),
            *(run.crops.source, self.starts, run.mean, run.std, run.foreground, self.enc, self.dec, run.w_dec),
            *(self.numbers, self.settings, batch, frames, run.windows, min(pool, frames), bins, latents, self.slots),
            *(signal_groups, self.groups, taps + self.tile["FOLD"] - 1),
            **self.tile,
        )
        for which, (weight, filters) in enumerate(((run.w_enc, self.enc), (run.w_dec, self.dec))):
            state = *run.state["w_dec" if which else "w_enc"], None
            launch(
                update_kernel,
                triton.cdiv(weight.numel(), UPDATE["BLOCK"]),
                *(weight, filters, state[0], state[1], self.partials[:, which], self.numbers, self.settings),
                *(self.programs, taps, bins, latents, 2.0 / batch),
                ENCODER=which == 0,
                RULE=run.optimizer,
                **UPDATE,
            )
        launch(finish_kernel, 1, self.history, self.losses, self.numbers, self.programs, batch, **FINISH)

    def take(self, run: Run, steps: int) -> None:
        """Takes `steps` steps. A plan's first is launched kernel by kernel, which compiles what the graph records."""
        if run.w_enc.device.type == "cuda" and self.graph is None:
            self.step(run)
            steps -= 1
            if steps:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.device(run.w_enc.device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    self.step(run)
                self.graph = graph
        for _ in range(steps):
            if self.graph is None:
                self.step(run)
            else:
                self.graph.replay()


_plans: OrderedDict[tuple, Plan] = OrderedDict()


def plan_for(run: Run) -> Plan:
    """The plan of a run: another where a shape, what kernels are compiled for, or the place of a tensor differs."""
    crops = run.crops
    tensors = run.w_enc, run.w_dec, *run.state["w_enc"], *run.state["w_dec"]
    tensors += run.mean, run.std, run.foreground, crops.source
    counts = crops.signal_groups, len(crops.group_first), len(crops.shift)
    key = (run.shape, run.optimizer, run.w_enc.device, dot_of(crops.source), counts, *(t.data_ptr() for t in tensors))
    if key not in _plans:
        _plans[key] = Plan(run)
    _plans.move_to_end(key)
    while len(_plans) > PLANS:
        _plans.popitem(last=False)
    return _plans[key]


def refusal(runs: Sequence[Run]) -> str | None:
    for run in runs:
        _, frames, bins, latents, taps, _ = run.shape
        kinds = {t.dtype for t in (run.w_enc, run.w_dec, *run.state["w_enc"], *run.state["w_dec"])}
        if kinds != {torch.float32}:
            names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
            return f"it trains float32 weights with float32 state, not {names}; convert them or use eager"
        source = run.crops.source
        if source.dtype not in (torch.float32, torch.bfloat16):
            kind = str(source.dtype).removeprefix("torch.")
            return f"it takes recordings in float32 or bfloat16, not {kind}; convert them or use eager"
        if not interpreting() and run.w_enc.device.type != "cuda":
            return f"it needs tensors on a cuda device and these are on {run.w_enc.device}; move them or use eager"
        largest = max((frames + taps) * max(bins, latents), taps * bins * latents)
        if largest >= 2**30:
            return f"an item or a weight would have {largest} numbers and it takes fewer than 2^30; use fewer frames"
    return None


def train_steps(runs: Sequence[Run], first: int, steps: int) -> Tensor:
    losses = torch.empty(len(runs), steps, dtype=torch.float64, device=runs[0].w_enc.device)
    for run, row in zip(runs, losses, strict=True):
        plan = plan_for(run)
        for done in range(0, steps, HISTORY):
            count = min(HISTORY, steps - done)
            plan.begin(run, first + done)
            plan.take(run, count)
            row[done : done + count] = plan.history[:count]
    return losses
