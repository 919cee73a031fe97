# pyright: reportPossiblyUnboundVariable=false, reportAssignmentType=false, reportArgumentType=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# ruff: noqa: RUF005
# Branches on a constexpr are taken at compile time, and tuples grow by `+`, which a type checker does not follow.
"""train_steps on a GPU, in Triton, for large batches: a fixed set of programs processes the items of a step.

A step is five launches, and its number is a word in the GPU's memory, so that captured CUDA graphs are replayed for
any number of steps:

    draw      the first row of every crop, by Philox
    learn     for each item: mix and normalise, encode and pool, decode, error, gradients of the weights
    update    (one for each weight) the ordered sum of the programs' gradients, then the optimizer
    finish    the step's loss; increments the step's number and the index of the next loss

`learn` has one program for each multiprocessor, which processes every programs-th item in scratch memory that stays in
the caches: (N + M) * (2H + 2K) numbers, plus those of the windows. No batch is built.

    mix      source -> xn, the sum of the crops, normalised
    encode   xn -> z, dense, a matrix product over taps and bins
    pool     z -> values, positions; and u, the values at their frames among zeros
    decode   u -> e = r - target, dense
    gather   runs of e -> dots with their filters, and the gradient of w_dec, from the same loads
    turn     dots -> gradients of the values; the penalty; u is reset to zero
    gather   runs of xn -> the gradient of w_enc

Encode and decode multiply in TF32 if PyTorch's switch for convolutions allows it, else in three products of TF32, which
have the precision of float32, or in bfloat16 for a bfloat16 source. Sums are float32, those of losses float64; the
error is relative to the magnitudes as they are stored. Each program has its own partial gradients, so the bits depend
on shapes and on the number of multiprocessors. Several runs are processed one after the other.
"""

# decode is dense although one frame in P has a value: scattering runs would take a masked load for each product, and at
# P 16 the tensor cores process the zeros in less time.
#
# M - 1 frames of zeros surround an item in xn, e and u, so that runs need no mask on frames. `gather` is sparse and
# exact in float32: the sums of BLOCK_K latents over TAPS taps stay in registers for all windows of an item, and a load
# of 16 bytes serves four products, or eight along e. By the machine code, loads limit it: for each window and source
# 288 cycles of the first-level cache at H = K = 32, M 9, against 216 of instruction issue along e and 108 along xn.
# They take half of an item's time, so a second program on a multiprocessor, for which there are no registers, would
# gain little. Encode and decode take two consecutive frames in a row (FOLD), which halves their loads for a tenth more
# products.

import threading
from collections import OrderedDict
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from .._triton.common import launch, power_of_two, product, tl, triton
from ..registry import interpreting
from ..tf32 import tf32_allowed
from .optimizer import RULES
from .training_run import TrainingRun

# Indices in `numbers`, int64 on the GPU; from TABLES on: group_first, group_starts (G,), starts_before, shift (R,).
STEP, PLACE, KEY_LOW, KEY_HIGH, NOISE_ITEMS, TABLES = range(6)
_NOISE_ITEMS, _TABLES = tl.constexpr(NOISE_ITEMS), tl.constexpr(TABLES)


@triton.jit
def philox_word(step, item, group, key_low, key_high):
    """Return the first word of Philox-4x32-10 for counter (step, item, group, 0); all are uint32."""
    word, _, _, _ = tl.philox_impl(step, item, group, group * 0, key_low, key_high, 10)
    return word


@triton.jit(do_not_specialize=["batch", "slots", "signal_groups", "groups", "recordings"])
def draw_kernel(
    starts_ptr,  # (B, slots) int64: the first row in the source of each crop of an item
    numbers_ptr,
    batch,  # B
    slots,  # maximum number of crops in an item
    signal_groups,
    groups,  # G
    recordings,  # R
    BITS: tl.constexpr,  # R < 2**BITS
    CORRUPTION: tl.constexpr,  # corruption groups
    BLOCK: tl.constexpr,
):
    offs_b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    step = tl.load(numbers_ptr).to(tl.uint32)
    key_low = tl.load(numbers_ptr + 2).to(tl.uint32)
    key_high = tl.load(numbers_ptr + 3).to(tl.uint32)
    noise_only = offs_b < tl.load(numbers_ptr + _NOISE_ITEMS)
    first_ptr = numbers_ptr + _TABLES
    before_ptr = first_ptr + 2 * groups
    last = tl.where(noise_only, groups - CORRUPTION, signal_groups)
    for slot in range(slots):
        group = tl.where(noise_only, signal_groups, 0) + slot
        drawn = (offs_b < batch) & (group < last)
        if CORRUPTION:
            group = tl.where(drawn, group, group - last + (groups - CORRUPTION))
            drawn = (offs_b < batch) & (group < groups)
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
def _convolve(
    run_ptrs,  # (ROWS,): column 0 of the first frame of each row's run
    w_ptr,  # (M, outputs, columns): contiguous along the sum, as TF32 requires
    products,  # M + FOLD - 1, not a constexpr: the compiler would unroll the loop and run out of registers
    output_start,
    COLUMNS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,  # M
    FOLD: tl.constexpr,
    DOT: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Return the products (ROWS, FOLD * BLOCK_OUT) of FOLD consecutive runs, of TAPS frames each, with the filters.

    The last tap multiplies the first frame of a run. FOLD runs share loads: TAPS + FOLD - 1 in all, not TAPS for each.
    """
    offs_j = tl.arange(0, FOLD * BLOCK_OUT)
    fold = offs_j // BLOCK_OUT
    offs_o = output_start + offs_j % BLOCK_OUT
    mask_o = offs_o < OUTPUTS
    z = tl.zeros((ROWS, FOLD * BLOCK_OUT), tl.float32)
    for column_start in range(0, COLUMNS, BLOCK_IN):
        offs_c = column_start + tl.arange(0, BLOCK_IN)
        mask_c = offs_c < COLUMNS
        in_ptrs = run_ptrs[:, None] + offs_c[None, :]
        first_tap = TAPS - 1 + fold
        w_ptrs = w_ptr + ((first_tap * OUTPUTS + offs_o) * COLUMNS)[None, :] + offs_c[:, None]
        for i in tl.range(0, products, num_stages=STAGES, disable_licm=True):
            mask_j = mask_o & (first_tap - i < TAPS) & (first_tap >= i)
            # Through the first-level cache, since consecutive taps share frames. Triton 3.6 ignores the modifier and
            # copies past that cache.
            a = tl.load(in_ptrs, mask=mask_c[None, :], other=0.0, cache_modifier=".ca")
            w = tl.load(w_ptrs, mask=mask_c[:, None] & mask_j[None, :], other=0.0, cache_modifier=".ca")
            if DOT == "bf16":
                z = tl.dot(a.to(tl.bfloat16), w.to(tl.bfloat16), z)
            else:
                z = product(a, w, z, DOT)
            in_ptrs += COLUMNS
            w_ptrs -= OUTPUTS * COLUMNS
    return z


@triton.jit
def _accumulate(
    partial_ptr,  # (M, K, H) of this program
    dots_ptr,  # (W, K, 4)
    buffer_ptr,  # (N + M - 1, H)
    rows_ptr,  # (M, K, H)
    amplitudes_ptr,  # (W, K)
    positions_ptr,  # (W, K)
    done,  # 0 if the partial sum starts here
    windows,
    BINS: tl.constexpr,  # H
    LATENTS: tl.constexpr,  # K
    DOTS: tl.constexpr,  # whether to compute the dots with the rows too
    ALL_TAPS: tl.constexpr,  # M
    TAPS: tl.constexpr,  # taps at a time
    BLOCK_K: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Add amplitude * frame i of the run to partial[i, k], over all windows; set dots to the products with the rows."""
    ONE: tl.constexpr = TAPS >= ALL_TAPS and BLOCK_H >= BINS
    for latent_start in range(0, LATENTS, BLOCK_K):
        offs_k = latent_start + tl.arange(0, BLOCK_K)
        mask_k = offs_k < LATENTS
        for bin_start in range(0, BINS, BLOCK_H):
            offs_h = bin_start + tl.arange(0, BLOCK_H)
            mask_h = offs_h < BINS
            mask = mask_k[:, None] & mask_h[None, :]
            mask_sum = (offs_k < tl.where(done > 0, LATENTS, 0))[:, None] & mask_h[None, :]
            for tap_start in tl.static_range(0, ALL_TAPS, TAPS):
                offs_row = (tap_start * LATENTS + offs_k[:, None]) * BINS + offs_h[None, :]
                sums = ()
                rows = ()
                for i in tl.static_range(TAPS):
                    sums = sums + (tl.zeros((BLOCK_K, BLOCK_H), tl.float32),)
                    if DOTS and tap_start + i < ALL_TAPS:
                        rows = rows + (tl.load(rows_ptr + offs_row + i * LATENTS * BINS, mask=mask, other=0.0),)
                for window in tl.range(0, windows, num_stages=1, disable_licm=True, loop_unroll_factor=2):
                    offs_w = window * LATENTS + offs_k
                    offs_t = tl.load(positions_ptr + offs_w, mask=mask_k, other=0)
                    amplitude = tl.load(amplitudes_ptr + offs_w, mask=mask_k, other=0.0)
                    run_ptrs = buffer_ptr + tap_start * BINS + (offs_t[:, None] * BINS + offs_h[None, :])
                    product = tl.zeros((BLOCK_K, BLOCK_H), tl.float32)
                    new = ()
                    for i in tl.static_range(TAPS):
                        if tap_start + i < ALL_TAPS:
                            run = tl.load(run_ptrs + i * BINS, mask=mask, other=0.0)
                            if DOTS:
                                product += run * rows[i]
                            new = new + (sums[i] + amplitude[:, None] * run,)
                        else:
                            new = new + (sums[i],)
                    sums = new
                    if DOTS:
                        dot = tl.sum(product, axis=1)
                        if not ONE:
                            mask_dot = offs_k < tl.where(bin_start + tap_start > 0, LATENTS, 0)
                            dot += tl.load(dots_ptr + offs_w * 4, mask=mask_dot, other=0.0)
                        # Four copies are a store of 16 bytes by the thread that has the sum: one number would take
                        # another layout, and so two barriers.
                        offs_copy = offs_h - bin_start
                        dot, _ = tl.broadcast(dot[:, None], product)
                        dot_ptrs = dots_ptr + (offs_w * 4)[:, None] + offs_copy[None, :]
                        tl.store(dot_ptrs, dot, mask=mask_k[:, None] & (offs_copy < 4)[None, :])
                for i in tl.static_range(TAPS):
                    if tap_start + i < ALL_TAPS:
                        partial_ptrs = partial_ptr + offs_row + i * LATENTS * BINS
                        before = tl.load(partial_ptrs, mask=mask_sum, other=0.0)
                        tl.store(partial_ptrs, before + sums[i], mask=mask)
                if DOTS and not ONE:
                    tl.debug_barrier()  # the dots of these bins and taps are read back


@triton.jit(do_not_specialize=["batch", "frames", "windows", "pool", "slots", "signal_groups", "groups", "products"])
def learn_kernel(
    partials_ptr,  # (programs, 2, M, K, H): of w_enc, its taps from the last to the first, then of w_dec
    losses_ptr,  # (programs,) float64
    xn_ptr,  # (programs, N + M - 1, H): M // 2 frames of zeros before an item
    e_ptr,  # (programs, N + M - 1, H), likewise
    z_ptr,  # (programs, N, K)
    u_ptr,  # (programs, N + M - 1, K): zero between items; (M - 1) // 2 frames of zeros before an item
    values_ptr,  # (programs, W, K): at the end their gradients, without the factor 2 / B
    positions_ptr,  # (programs, W, K) int32
    dots_ptr,  # (programs, W, K, 4): each dot four times
    source_ptr,  # (T, H)
    starts_ptr,  # (B, slots) int64
    mean_ptr,  # (H,)
    std_ptr,  # (H,)
    foreground_ptr,  # (K,)
    w_enc_ptr,  # (M, K, H), which is w_enc with its last two axes swapped
    w_dec_ptr,  # (M, H, K), likewise
    rows_ptr,  # w_dec itself, (M, K, H)
    numbers_ptr,
    settings_ptr,  # float64: TrainingRun.latent_weight, weight decay, other options
    batch,  # B
    frames,  # N
    windows,  # W
    pool,  # P
    slots,
    signal_groups,
    groups,  # G
    products,  # M + FOLD - 1
    BINS: tl.constexpr,  # H
    LATENTS: tl.constexpr,  # K
    TAPS: tl.constexpr,  # M
    FOLD: tl.constexpr,  # consecutive frames in a row of the dense products
    DOT: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_BINS: tl.constexpr,
    BLOCK_LATENTS: tl.constexpr,
    RUN_TAPS: tl.constexpr,
    RUN_K: tl.constexpr,
    RUN_H: tl.constexpr,
    STAGES: tl.constexpr,
    negative_slope,  # the rectifier's slope below 0, or None
    CORRUPTION: tl.constexpr,  # corruption groups; with any, e holds the target before the error
    RECTIFIED: tl.constexpr,  # whether r is max(decode, 0)
):
    FLAT: tl.constexpr = 1024
    BEFORE: tl.constexpr = TAPS // 2
    program = tl.program_id(0)
    padded = (frames + (TAPS + FOLD - 2)).to(tl.int64)
    xn_ptr += program * padded * BINS
    e_ptr += program * padded * BINS
    z_ptr += program * frames.to(tl.int64) * LATENTS
    u_ptr += program * padded * LATENTS
    values_ptr += program.to(tl.int64) * windows * LATENTS
    positions_ptr += program.to(tl.int64) * windows * LATENTS
    dots_ptr += program.to(tl.int64) * windows * (4 * LATENTS)
    partials_ptr += program.to(tl.int64) * (2 * TAPS) * BINS * LATENTS
    noise_items = tl.load(numbers_ptr + _NOISE_ITEMS)
    latent_weight = tl.load(settings_ptr).to(tl.float32)
    weights = BINS * LATENTS
    rows = tl.arange(0, ROWS)
    loss = tl.full((), 0.0, tl.float64)

    for item in tl.range(program, batch, tl.num_programs(0), num_stages=1, disable_licm=True):
        noise_only = item < noise_items
        # mix
        crops = tl.where(noise_only, groups - CORRUPTION - signal_groups, signal_groups)
        item_starts = starts_ptr + item * slots.to(tl.int64)
        for bin_start in range(0, BINS, BLOCK_BINS):
            offs_h = bin_start + tl.arange(0, BLOCK_BINS)
            mask_h = offs_h < BINS
            mean = tl.load(mean_ptr + offs_h, mask=mask_h, other=0.0)
            scale = 1.0 / tl.load(std_ptr + offs_h, mask=mask_h, other=1.0)
            for frame_start in tl.range(0, frames, 4 * ROWS, num_stages=1, disable_licm=True):
                offs_n = frame_start + tl.arange(0, 4 * ROWS)
                mask = (offs_n < frames)[:, None] & mask_h[None, :]
                offs_x = offs_n[:, None] * BINS + offs_h[None, :]
                x = tl.zeros((4 * ROWS, BLOCK_BINS), tl.float32)
                for crop in range(crops):
                    crop_ptr = source_ptr + tl.load(item_starts + crop) * BINS
                    x += tl.load(crop_ptr + offs_x, mask=mask, other=0.0).to(tl.float32)
                if CORRUPTION:
                    tl.store(e_ptr + BEFORE * BINS + offs_x, x, mask=mask)
                    for crop in range(crops, crops + CORRUPTION):
                        crop_ptr = source_ptr + tl.load(item_starts + crop) * BINS
                        x += tl.load(crop_ptr + offs_x, mask=mask, other=0.0).to(tl.float32)
                tl.store(xn_ptr + BEFORE * BINS + offs_x, (x - mean[None, :]) * scale[None, :], mask=mask)
        tl.debug_barrier()

        # encode
        for frame_start in tl.range(0, frames, ROWS * FOLD, num_stages=1, disable_licm=True):
            offs_n = frame_start + rows * FOLD
            for latent_start in range(0, LATENTS, BLOCK_LATENTS):
                z = _convolve(
                    run_ptrs=xn_ptr + tl.minimum(offs_n, frames - 1) * BINS,
                    w_ptr=w_enc_ptr,
                    products=products,
                    output_start=latent_start,
                    COLUMNS=BINS,
                    OUTPUTS=LATENTS,
                    TAPS=TAPS,
                    FOLD=FOLD,
                    DOT=DOT,
                    ROWS=ROWS,
                    BLOCK_IN=BLOCK_BINS,
                    BLOCK_OUT=BLOCK_LATENTS,
                    STAGES=STAGES,
                )
                offs_j = tl.arange(0, FOLD * BLOCK_LATENTS)
                fold = offs_j // BLOCK_LATENTS
                offs_k = latent_start + offs_j % BLOCK_LATENTS
                mask = (offs_n[:, None] + fold[None, :] < frames) & (offs_k < LATENTS)[None, :]
                tl.store(z_ptr + offs_n[:, None] * LATENTS + (fold * LATENTS + offs_k)[None, :], z, mask=mask)
        tl.debug_barrier()

        # pool
        for first in tl.range(0, windows * LATENTS, FLAT, num_stages=1, disable_licm=True):
            offs_v = first + tl.arange(0, FLAT)
            mask_v = offs_v < windows * LATENTS
            offs_k = offs_v % LATENTS
            start = offs_v // LATENTS * pool
            stop = tl.minimum(start + pool, tl.where(mask_v, frames, 0))
            floor = 0.0 if negative_slope is None else float("-inf")
            best = tl.full((FLAT,), floor, tl.float32)
            position = start
            for inside in range(0, pool, 4):
                for i in tl.static_range(4):
                    offs_n = start + (inside + i)
                    z = tl.load(z_ptr + offs_n * LATENTS + offs_k, mask=offs_n < stop, other=floor)
                    better = (z > best) | ((z != z) & (best == best))
                    best = tl.where(better, z, best)
                    position = tl.where(better, offs_n, position)
            if negative_slope is not None:
                best = tl.where(best < 0, negative_slope * best, best)
            tl.store(values_ptr + offs_v, best, mask=mask_v)
            tl.store(positions_ptr + offs_v, position, mask=mask_v)
            tl.store(u_ptr + (position + (TAPS - 1 - BEFORE)) * LATENTS + offs_k, best, mask=mask_v)
        tl.debug_barrier()

        # decode
        squares = tl.zeros((ROWS, FOLD * BLOCK_BINS), tl.float32)
        for frame_start in tl.range(0, frames, ROWS * FOLD, num_stages=1, disable_licm=True):
            offs_n = frame_start + rows * FOLD
            for bin_start in range(0, BINS, BLOCK_BINS):
                r = _convolve(
                    run_ptrs=u_ptr + tl.minimum(offs_n, frames - 1) * LATENTS,
                    w_ptr=w_dec_ptr,
                    products=products,
                    output_start=bin_start,
                    COLUMNS=LATENTS,
                    OUTPUTS=BINS,
                    TAPS=TAPS,
                    FOLD=FOLD,
                    DOT=DOT,
                    ROWS=ROWS,
                    BLOCK_IN=BLOCK_LATENTS,
                    BLOCK_OUT=BLOCK_BINS,
                    STAGES=STAGES,
                )
                offs_j = tl.arange(0, FOLD * BLOCK_BINS)
                fold = offs_j // BLOCK_BINS
                offs_h = bin_start + offs_j % BLOCK_BINS
                mask_h = offs_h < BINS
                mask = (offs_n[:, None] + fold[None, :] < frames) & mask_h[None, :]
                offs_x = (BEFORE + offs_n[:, None]) * BINS + (fold * BINS + offs_h)[None, :]
                if CORRUPTION:
                    target = tl.load(e_ptr + offs_x, mask=mask, other=0.0)
                else:
                    mean = tl.load(mean_ptr + offs_h, mask=mask_h, other=0.0)
                    std = tl.load(std_ptr + offs_h, mask=mask_h, other=1.0)
                    target = tl.load(xn_ptr + offs_x, mask=mask, other=0.0) * std[None, :] + mean[None, :]
                if RECTIFIED:
                    cut = r <= 0
                    error = tl.where(mask, tl.where(cut, 0.0, r) - target, 0.0)
                    tl.store(e_ptr + offs_x, tl.where(cut, 0.0, error), mask=mask)
                else:
                    error = tl.where(mask, r - target, 0.0)
                    tl.store(e_ptr + offs_x, error, mask=mask)
                squares += error * error
        loss += tl.sum(tl.sum(squares, axis=1), axis=0)
        tl.debug_barrier()

        # gather along e
        dec_partial_ptr = partials_ptr + TAPS * weights
        _accumulate(
            partial_ptr=dec_partial_ptr,
            dots_ptr=dots_ptr,
            buffer_ptr=e_ptr,
            rows_ptr=rows_ptr,
            amplitudes_ptr=values_ptr,
            positions_ptr=positions_ptr,
            done=item - program,
            windows=windows,
            BINS=BINS,
            LATENTS=LATENTS,
            DOTS=True,
            ALL_TAPS=TAPS,
            TAPS=RUN_TAPS,
            BLOCK_K=RUN_K,
            BLOCK_H=RUN_H,
        )
        tl.debug_barrier()

        # turn
        item_weight = tl.where(noise_only, latent_weight, 0.0)
        for first in tl.range(0, windows * LATENTS, FLAT, num_stages=1, disable_licm=True):
            offs_v = first + tl.arange(0, FLAT)
            mask_v = offs_v < windows * LATENTS
            offs_k = offs_v % LATENTS
            value = tl.load(values_ptr + offs_v, mask=mask_v, other=0.0)
            position = tl.load(positions_ptr + offs_v, mask=mask_v, other=0)
            foreground = tl.load(foreground_ptr + offs_k, mask=mask_v, other=0.0)
            cost = item_weight * foreground * foreground * value
            grad = tl.load(dots_ptr + offs_v * 4, mask=mask_v, other=0.0) + cost
            below = 0.0 if negative_slope is None else negative_slope * grad
            tl.store(values_ptr + offs_v, tl.where(value > 0, grad, below), mask=mask_v)
            tl.store(u_ptr + (position + (TAPS - 1 - BEFORE)) * LATENTS + offs_k, 0.0, mask=mask_v)
            loss += tl.sum(cost * value, axis=0)
        tl.debug_barrier()

        # gather along xn
        _accumulate(
            partial_ptr=partials_ptr,
            dots_ptr=dots_ptr,
            buffer_ptr=xn_ptr,
            rows_ptr=rows_ptr,
            amplitudes_ptr=values_ptr,
            positions_ptr=positions_ptr,
            done=item - program,
            windows=windows,
            BINS=BINS,
            LATENTS=LATENTS,
            DOTS=False,
            ALL_TAPS=TAPS,
            TAPS=RUN_TAPS,
            BLOCK_K=RUN_K,
            BLOCK_H=RUN_H,
        )
        tl.debug_barrier()
    tl.store(losses_ptr + program, loss)


@triton.jit
def _power(base, exponent):
    """Return base ** exponent, float64, for an integer exponent >= 0: its bits do not depend on the first step."""
    result = tl.full((), 1.0, tl.float64)
    while exponent > 0:
        result = tl.where(exponent % 2 == 1, result * base, result)
        base *= base
        exponent = exponent // 2
    return result


@triton.jit
def changed(
    weight,
    gradient,
    first,
    second,
    RULE: tl.constexpr,
    rate,
    kept1,  # adadelta: rho; adam: beta1; sgd, nesterov: momentum
    added1,  # 1 - kept1
    kept2,  # adam: beta2
    added2,  # 1 - kept2
    correction,  # adam: 1 / (1 - beta2^t)
    small,  # epsilon
    decay,
):
    """Return weight and both state tensors after a step, float32; a rule with one state tensor leaves the second.

    adam's `rate` is the learning rate / (1 - beta1^t).
    """
    gradient += decay * weight
    if RULE == "adadelta":
        first = kept1 * first + added1 * gradient * gradient
        change = tl.sqrt_rn(second + small) / tl.sqrt_rn(first + small) * gradient
        second = kept1 * second + added1 * change * change
        weight -= rate * change
    elif RULE == "adam":
        first = kept1 * first + added1 * gradient
        second = kept2 * second + added2 * gradient * gradient
        weight -= rate * first / (tl.sqrt_rn(second * correction) + small)
    else:
        first = kept1 * first + gradient
        weight -= rate * (gradient + kept1 * first if RULE == "nesterov" else first)
    return weight, first, second


@triton.jit(do_not_specialize=["programs", "taps", "scale"])
def update_kernel(
    weight_ptr,  # w_enc (M, H, K) or w_dec (M, K, H)
    filters_ptr,  # the same with its last two axes swapped
    first_ptr,  # the optimizer's state, in the layout of the weight
    second_ptr,  # None if the rule has one state tensor
    partials_ptr,  # (programs, 2, M, K, H), from those of this weight on
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

    decay = tl.load(settings_ptr + 1)
    options_ptr = settings_ptr + 2
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
    if second_ptr is not None:
        second = tl.load(second_ptr + offs_i, mask=mask_q, other=0.0)
    weight, first, second = changed(
        weight=weight,
        gradient=gradient,
        first=first,
        second=second,
        RULE=RULE,
        rate=rate.to(tl.float32),
        kept1=kept1.to(tl.float32),
        added1=(1.0 - kept1).to(tl.float32),
        kept2=kept2.to(tl.float32),
        added2=(1.0 - kept2).to(tl.float32),
        correction=correction.to(tl.float32),
        small=small.to(tl.float32),
        decay=decay.to(tl.float32),
    )
    tl.store(weight_ptr + offs_i, weight, mask=mask_q)
    tl.store(filters_ptr + (offs_kh if ENCODER else offs_hk), weight, mask=mask_q)
    tl.store(first_ptr + offs_i, first, mask=mask_q)
    if second_ptr is not None:
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
UPDATE = {
    "BLOCK_PARTS": 64,
    "BLOCK": 32,
    "num_warps": 4,
}  # as in add_up: many parts at a time hide the latency of memory
FINISH = {"BLOCK": 256, "num_warps": 4}


def tile_of(bins: int, latents: int, taps: int, dot: str) -> dict[str, int | str]:
    """Return block sizes and warps of `learn`, from shapes and the kind of product.

    A dense product takes 256 frames, two in a row. Sums and filters of `gather` fill a third of the 255 registers that
    a thread of 8 warps can have; without maxnreg the assembler limits itself to 128 for sm_100, and spills. Loads of
    single numbers, if bins or latents are not a multiple of 16, take more registers: all sizes are halved.
    """
    single = bins % 16 > 0 or latents % 16 > 0
    rows = 64 if single else 128
    run_h = power_of_two(bins, 16, 64)
    return {
        "BINS": bins,
        "LATENTS": latents,
        "TAPS": taps,
        "FOLD": 2,
        "DOT": dot,
        "ROWS": rows,
        "BLOCK_BINS": power_of_two(bins, 16, 16 if single else 32),
        "BLOCK_LATENTS": power_of_two(latents, 16, 16 if single else 32),
        "RUN_TAPS": triton.cdiv(taps, triton.cdiv(taps, 9)),
        "RUN_K": 8 * rows // run_h,
        "RUN_H": run_h,
        "STAGES": 3,
        "num_warps": 8,
        "maxnreg": 255,
    }


PER_PROCESSOR = 1  # programs of `learn` on a multiprocessor: one fills its registers
SETTINGS = ("mean", "std", "foreground")  # tensors of a run that no step changes
HISTORY = 4096  # steps between two transfers of losses
GRAPH_STEPS = 32  # of a CUDA graph, so that the host launches rarely and the GPU does not wait for it between steps
USES = 4  # plans that a source of recordings keeps


def processors(device: torch.device) -> int:
    """Return the number of multiprocessors; the interpreter has two."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


def has_graphs(device: torch.device) -> bool:
    """Return whether a step can be captured in a CUDA graph: not in the interpreter."""
    return device.type == "cuda"


def dot_of(source: Tensor) -> str:
    """Return the precision of the products in encode and decode."""
    if source.dtype == torch.bfloat16:
        return "bf16"
    return "tf32" if tf32_allowed("convolution") else "tf32x3"


class Plan:
    """The memory of a run's steps: buffers, and copies of the run's weights, state and settings.

    So runs of one kind share a plan, and so do its CUDA graphs for each source of recordings, which is not copied. A
    plan has no reference to a tensor of a run.
    """

    def __init__(self, run: TrainingRun):
        own = run.copy()
        settings = {name: getattr(run, name).float().clone() for name in SETTINGS}
        self.run = replace(own, crops=replace(run.crops, source=torch.empty(0)), **settings)
        self.lock = threading.Lock()  # threads take turns
        batch, frames, bins, latents, taps, _ = run.shape
        crops, device = run.crops, run.w_enc.device
        self.groups, self.recordings = len(crops.group_first), len(crops.shift)
        self.slots = max(crops.signal_groups, crops.noise_groups) + crops.corruption_groups
        self.programs = min(batch, PER_PROCESSOR * processors(device))
        self.tile = tile_of(bins, latents, taps, dot_of(crops.source))
        padded = frames + taps - 1 + self.tile["FOLD"] - 1
        kept = {"device": device, "dtype": torch.float32}
        self.xn, self.e = (torch.zeros(self.programs, padded, bins, **kept) for _ in range(2))
        self.z = torch.empty(self.programs, frames, latents, **kept)
        self.u = torch.zeros(self.programs, padded, latents, **kept)
        self.values = torch.empty(self.programs, run.windows, latents, **kept)
        self.dots = torch.empty(self.programs, run.windows, latents, 4, **kept)
        self.positions = torch.empty(self.programs, run.windows, latents, device=device, dtype=torch.int32)
        self.partials = torch.empty(self.programs, 2, taps, latents, bins, **kept)
        self.enc, self.dec = torch.empty(taps, latents, bins, **kept), torch.empty(taps, bins, latents, **kept)
        self.starts = torch.empty(batch, self.slots, device=device, dtype=torch.int64)
        self.numbers = torch.empty(TABLES + 2 * (self.groups + self.recordings), device=device, dtype=torch.int64)
        self.settings = torch.empty(1 + len(RULES[run.optimizer].options), device=device, dtype=torch.float64)
        self.losses = torch.empty(self.programs, device=device, dtype=torch.float64)
        self.history = torch.empty(HISTORY, device=device, dtype=torch.float64)

    def begin(self, run: TrainingRun, first: int) -> None:
        """Copy everything that may differ between uses of a plan; the next step is number `first`."""
        crops = run.crops
        self.run.assign(run)
        for name in SETTINGS:
            getattr(self.run, name).copy_(getattr(run, name))
        words = first, 0, crops.seed & 0xFFFFFFFF, crops.seed >> 32, crops.noise_items
        tables = crops.group_first, crops.group_starts, crops.starts_before, crops.shift
        self.numbers.copy_(torch.cat([torch.tensor(words), *map(torch.from_numpy, tables)]))
        options = (run.options[name] for name in RULES[run.optimizer].options if name != "weight_decay")
        numbers = run.latent_weight, run.options["weight_decay"], *options
        self.settings.copy_(torch.tensor(numbers, dtype=torch.float64))
        self.enc.copy_(run.w_enc.transpose(1, 2))
        self.dec.copy_(run.w_dec.transpose(1, 2))

    def draw(self) -> None:
        """Launch the draw of a step's crops."""
        crops = self.run.crops
        launch(
            draw_kernel,
            triton.cdiv(crops.batch, DRAW["BLOCK"]),
            starts_ptr=self.starts,
            numbers_ptr=self.numbers,
            batch=crops.batch,
            slots=self.slots,
            signal_groups=crops.signal_groups,
            groups=self.groups,
            recordings=self.recordings,
            BITS=self.recordings.bit_length(),
            CORRUPTION=crops.corruption_groups,
            **DRAW,
        )

    def step(self, source: Tensor) -> None:
        """Launch the kernels of one step."""
        run = self.run
        batch, frames, bins, latents, taps, pool = run.shape
        crops = run.crops
        self.draw()
        launch(
            learn_kernel,
            self.programs,
            partials_ptr=self.partials,
            losses_ptr=self.losses,
            xn_ptr=self.xn,
            e_ptr=self.e,
            z_ptr=self.z,
            u_ptr=self.u,
            values_ptr=self.values,
            positions_ptr=self.positions,
            dots_ptr=self.dots,
            source_ptr=source,
            starts_ptr=self.starts,
            mean_ptr=run.mean,
            std_ptr=run.std,
            foreground_ptr=run.foreground,
            w_enc_ptr=self.enc,
            w_dec_ptr=self.dec,
            rows_ptr=run.w_dec,
            numbers_ptr=self.numbers,
            settings_ptr=self.settings,
            batch=batch,
            frames=frames,
            windows=run.windows,
            pool=min(pool, frames),
            slots=self.slots,
            signal_groups=crops.signal_groups,
            groups=self.groups,
            products=taps + self.tile["FOLD"] - 1,
            negative_slope=run.negative_slope or None,
            CORRUPTION=crops.corruption_groups,
            RECTIFIED=run.rectified_output,
            **self.tile,
        )
        for which, (weight, filters) in enumerate(((run.w_enc, self.enc), (run.w_dec, self.dec))):
            state = *run.state["w_dec" if which else "w_enc"], None
            launch(
                update_kernel,
                triton.cdiv(weight.numel(), UPDATE["BLOCK"]),
                weight_ptr=weight,
                filters_ptr=filters,
                first_ptr=state[0],
                second_ptr=state[1],
                partials_ptr=self.partials[:, which],
                numbers_ptr=self.numbers,
                settings_ptr=self.settings,
                programs=self.programs,
                taps=taps,
                bins=bins,
                latents=latents,
                scale=2.0 / batch,
                ENCODER=which == 0,
                RULE=run.optimizer,
                **UPDATE,
            )
        launch(
            finish_kernel,
            1,
            history_ptr=self.history,
            losses_ptr=self.losses,
            numbers_ptr=self.numbers,
            programs=self.programs,
            batch=batch,
            **FINISH,
        )

    def take(self, source: Tensor, graphs: dict[int, torch.cuda.CUDAGraph], steps: int) -> None:
        """Run `steps` steps, by replaying CUDA graphs of some steps each, which are captured and added if missing.

        The first step of all is launched kernel by kernel, which compiles them.
        """
        device = self.run.w_enc.device
        if not has_graphs(device):
            for _ in range(steps):
                self.step(source)
            return
        with torch.cuda.device(device):
            if not graphs and steps:
                self.step(source)
                steps -= 1
            for size in (GRAPH_STEPS, 1):
                replays, steps = divmod(steps, size)
                if replays and size not in graphs:
                    graphs[size] = self._captured(source, size)
                for _ in range(replays):
                    graphs[size].replay()

    def _captured(self, source: Tensor, steps: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # The default stream of captures belongs to the device of the first capture in the process.
        stream = torch.cuda.Stream(self.run.w_enc.device)
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            for _ in range(steps):
                self.step(source)
        return graph


@dataclass
class Use:
    """A plan for one source of recordings, whose address the graphs have, by their number of steps."""

    plan: Plan
    graphs: dict[int, torch.cuda.CUDAGraph] = field(default_factory=dict)


# The last USES uses of each source. When the source is deleted so are they, and with the last use of a plan its memory.
_uses: MutableMapping[Tensor, OrderedDict[tuple, Use]] = WeakIdKeyDictionary()  # by source, then by key
_plans: WeakValueDictionary[tuple, Plan] = WeakValueDictionary()  # by key
_lock = threading.Lock()


def use_of(run: TrainingRun) -> Use:
    """Return the use of a plan for a run; shapes, compile-time settings, device and stream determine the plan."""
    crops, device = run.crops, run.w_enc.device
    counts = crops.signal_groups, crops.corruption_groups, len(crops.group_first), len(crops.shift)
    kind = run.shape, run.optimizer, run.negative_slope, run.rectified_output, device, dot_of(crops.source)
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    key = (*kind, *counts, stream)
    with _lock:
        if crops.source not in _uses:
            _uses[crops.source] = OrderedDict()
        uses = _uses[crops.source]
        if key not in uses:
            plan = _plans.get(key)
            if plan is None:
                plan = _plans[key] = Plan(run)
            uses[key] = Use(plan)
        uses.move_to_end(key)
        while len(uses) > USES:
            uses.popitem(last=False)
        return uses[key]


def refusal(runs: Sequence[TrainingRun]) -> str | None:
    for run in runs:
        _, frames, bins, latents, taps, _ = run.shape
        if reason := run.memory_refusal((torch.float32, torch.bfloat16)):
            return reason
        if run.crops.target is not None:
            return "it does not take recordings with targets of their own; use eager"
        if not interpreting() and run.w_enc.device.type != "cuda":
            return f"it needs tensors on a cuda device and these are on {run.w_enc.device}; move them or use eager"
        largest = max((frames + taps) * max(bins, latents), taps * bins * latents)
        if largest >= 2**30:
            return f"an item or a weight would have {largest} numbers and it takes fewer than 2^30; use fewer frames"
    return None


def train_steps(runs: Sequence[TrainingRun], first: int, steps: int) -> Tensor:
    losses = torch.empty(len(runs), steps, dtype=torch.float64, device=runs[0].w_enc.device)
    for run, row in zip(runs, losses, strict=True):
        use = use_of(run)
        plan, source = use.plan, run.crops.source
        with plan.lock:
            for done in range(0, steps, HISTORY):
                count = min(HISTORY, steps - done)
                plan.begin(run, first + done)
                plan.take(source, use.graphs, count)
                run.assign(plan.run)
                row[done : done + count] = plan.history[:count]
    return losses
