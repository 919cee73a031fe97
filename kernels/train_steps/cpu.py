"""train_steps on the CPU: one call of one function runs all steps of a launch on all threads.

A batch is cut into cells: an item or, if items are long or few, a range of its pool windows plus as many windows on
either side as the filters reach. A thread processes a cell in scratch memory that stays in its caches: it draws the
crops; writes -target and the normalised x; encodes and pools; adds the decoder's runs to -target, which gives the
error; squares it; and computes dot products and weight gradients over runs. No batch is built.
"""

# With a rectified output the target and the decoder's runs are stored separately: frames that the rectifier cuts off
# count in the loss and have no gradient.
#
# The cells are assigned, in order, to PARTIALS sums of gradients. A step computes those sums, then their ordered sum
# and the optimizer on slices of the weights; each phase waits for the other by a count of finished units. Cells, sums
# and slices depend on the shapes only, so the number of threads changes no bit.
#
# Runs of one launch (a population) proceed side by side, each on the next free thread, with the same cells, sums and
# slices in the same order, and so with the same bits as alone.

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic
from numpy.typing import ArrayLike
from torch import Tensor

from .._cpu.jit import kernel
from .._cpu.philox import words_at
from .._cpu.simd import FRAMES, RUNS, VECTOR_BYTES, add_and_dot_runs, add_runs, axpy, convolve_and_pool, dot
from .._cpu.threads import PARTIALS, count_up, next_unit, spread, wait_for, wait_until_done
from ..shapes import window_count
from .optimizer import RULES, settings_at
from .training_run import TrainingRun

SMALL_WEIGHTS = 1 << 16  # with more weights there are half as many sums: each is written and read once in a step
CELL_FRAMES = 768  # about the maximum: with 128 bins the scratch of a cell takes 0.8 MB
SHORT_CELL = 64  # frames: the minimum of a cell, as are four filters
NEAR_BYTES = 16384  # of frames that the passes over runs visit for each latent in turn
COLUMNS = 128  # columns of a slice
LANES = VECTOR_BYTES // 4  # latents in a slice: a column of them fills a cache line or half of one
TURN = 8  # steps of a run of a population before its thread takes another run
GROUPS = 64  # maximum
FILL = 2048  # numbers that are normalised at a time
_WORTH_IT = 1 << 62  # operations: a launch is many steps, worth waking threads for
RULE_NUMBERS = {rule: number for number, rule in enumerate(RULES)}

# Indices in `sizes`, the integer settings of a run.
FRAMES_OF_ITEM, BINS, LATENTS, TAPS, POOL, BATCH, RULE = 0, 1, 2, 3, 4, 5, 6
HALO, NEAR, CELL_WINDOWS, CELLS_PER_ITEM, PARTIAL_SUMS, NOISE_ITEMS, SIGNAL_GROUPS = 7, 8, 9, 10, 11, 12, 13
NOISE_GROUPS, CORRUPTION_GROUPS, RECTIFIED = 14, 15, 16


@dataclass(frozen=True)
class Plan:
    """The division of a step into cells and slices, which depends on the shapes only."""

    cell_windows: int  # in a cell
    halo: int  # windows on either side
    cells_per_item: int
    partials: int
    near_windows: int  # windows at a time in the passes over runs
    width: int  # latents in a panel


def plan(shape: tuple[int, int, int, int, int, int]) -> Plan:
    """Return the plan for B, N, H, K, M, P.

    >>> plan((16, 512, 32, 32, 9, 16)).cells_per_item
    1
    """
    batch, frames, bins, latents, taps, pool = shape
    windows = window_count(frames, pool)
    long = window_count(frames, CELL_FRAMES)
    few = min(window_count(PARTIALS, batch), max(1, frames // max(SHORT_CELL, 4 * taps, pool)))
    cell_windows = window_count(windows, max(long, few))
    cells_per_item = window_count(windows, cell_windows)
    most = PARTIALS if 2 * taps * bins * latents <= SMALL_WEIGHTS else PARTIALS // 2
    near = max(8, NEAR_BYTES // (4 * pool * bins) // 8 * 8)
    return Plan(
        cell_windows,
        window_count(taps - 1, pool),
        cells_per_item,
        min(most, batch * cells_per_item),
        min(near, 64),
        LANES if latents <= LANES else 2 * LANES,
    )


@intrinsic
def _floats_at(typingctx, address):
    """Return an integer address as a pointer to float32."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), codegen


@kernel
def first_row(crops, step, item, group):
    """Return the row of the source at which the crop of a group starts."""
    seed, starts_before, shift, group_first, group_starts = crops
    word, _, _, _ = words_at(seed, np.uint64(step), np.uint64(item), np.uint64(group), np.uint64(0))
    within = (word * np.uint64(group_starts[group])) >> np.uint64(32)
    crop = group_first[group] + np.int64(within)
    return crop + shift[np.searchsorted(starts_before, crop, side="right") - 1]


@kernel
def _fill(error, normalised, addresses, rows, own, frames, begin, mean, inverse, bins):
    """Fill the buffers with -target and (x - mean) * inverse of the frames from `begin` on, and zeros outside.

    x is the sum of the crops of `frames` frames of the source that start at `rows`; target is the sum of the first
    `own` crops of the targets. `addresses` are those of source and targets, equal if the source is the target. mean and
    inverse are repeated, end to end.
    """
    sources, targets = addresses
    count = error.size // bins
    low, high = max(0, -begin), min(count, frames - begin)
    error[: low * bins] = 0
    normalised[: low * bins] = 0
    error[high * bins :] = 0
    normalised[high * bins :] = 0
    block = mean.size
    for at in range(low * bins, high * bins, block):
        size = min(block, high * bins - at)
        # Views: an index that may be negative prevents vectorization.
        negative, normal = error[at : at + size], normalised[at : at + size]
        for group in range(own):
            target = carray(_floats_at(targets + 4 * ((rows[group] + begin) * bins + at)), (size,))
            if group == 0:
                for j in range(size):
                    negative[j] = -target[j]
            else:
                for j in range(size):
                    negative[j] -= target[j]
        if own == rows.size and targets == sources:
            for j in range(size):
                normal[j] = (-negative[j] - mean[j]) * inverse[j]
            continue
        normal[:] = 0
        for group in range(rows.size):
            source = carray(_floats_at(sources + 4 * ((rows[group] + begin) * bins + at)), (size,))
            for j in range(size):
                normal[j] += source[j]
        for j in range(size):
            normal[j] = (normal[j] - mean[j]) * inverse[j]


@kernel
def _rectify(error, residual):
    """Replace decode and -target by the error, 0 where decode is cut off, and the residual max(decode, 0) - target."""
    zero = error.dtype.type(0)
    for j in range(error.size):
        cut = error[j] <= zero  # false for NaN
        residual[j] += zero if cut else error[j]
        error[j] = zero if cut else residual[j]


@kernel
def _cell(sizes, scratch, model, step, item, first, last, gradient):
    """Add the gradients of a cell, windows first .. last - 1 of an item, to `gradient`; return its loss.

    The gradients lack their factor 2 / B and the loss its factor 1 / B.
    """
    weights, panels, crops, addresses, mean, inverse, weighted, negative_slope = model
    error, normalised, values, positions, slots, starts, heights, dots, ended, rows, residual = scratch
    frames, bins, latents, taps, pool = sizes[FRAMES_OF_ITEM], sizes[BINS], sizes[LATENTS], sizes[TAPS], sizes[POOL]
    near = sizes[NEAR]
    width, length, before = panels.shape[2], taps * bins, taps // 2
    windows = (frames + pool - 1) // pool
    outer_first, outer_last = max(0, first - sizes[HALO]), min(windows, last + sizes[HALO])
    begin = outer_first * pool  # frame numbers below are relative to this
    count = min(outer_last * pool, frames) - begin

    silent = item < sizes[NOISE_ITEMS]
    own, first_own = (sizes[NOISE_GROUPS], sizes[SIGNAL_GROUPS]) if silent else (sizes[SIGNAL_GROUPS], 0)
    for g in range(own):
        rows[g] = first_row(crops, step, item, first_own + g)
    drawn = own + sizes[CORRUPTION_GROUPS]
    for g in range(own, drawn):
        rows[g] = first_row(crops, step, item, sizes[SIGNAL_GROUPS] + sizes[NOISE_GROUPS] + g - own)
    used = ((count + FRAMES - 1) // FRAMES * FRAMES + taps - 1) * bins
    rectified = sizes[RECTIFIED] != 0
    if rectified:
        error[:used] = 0
    else:
        residual = error
    _fill(residual[:used], normalised[:used], addresses, rows[:drawn], own, frames, begin - before, mean, inverse, bins)

    # Encode: the run of frame t of the cell starts at t * bins, in `normalised` and in `error`.
    spare = outer_last - outer_first  # for frames past the end of the last window
    floor = error.dtype.type(0.0 if negative_slope == 0 else -np.inf)  # the maximum of a window must exceed it
    for w in range(spare):
        for t in range(w * pool, min((w + 1) * pool, count)):
            slots[t] = w
    slots[count:] = spare
    for panel in range(panels.shape[0]):
        best, where = values[panel], positions[panel]
        for w in range(spare + 1):
            best[w] = floor
            where[w] = w * pool
        at = panel * length * width
        for t in range(0, count, FRAMES):
            if width * error.itemsize == VECTOR_BYTES:  # the primitive takes the number of vectors as a literal
                convolve_and_pool(best, where, slots, t, t, normalised, t * bins, bins, panels, at, length, 1)
            else:
                convolve_and_pool(best, where, slots, t, t, normalised, t * bins, bins, panels, at, length, 2)
        if negative_slope != 0:
            for w in range(spare):
                for q in range(width):
                    if best[w, q] < 0:
                        best[w, q] *= negative_slope

    # Decode: the reconstruction is added to -target.
    decoder = latents * length
    for w_first in range(0, spare, near):
        for k in range(latents):
            panel, q = k // width, k % width
            for w in range(w_first, min(w_first + near, spare)):
                v = values[panel, w, q]
                if v != 0:
                    axpy(v, weights, decoder + k * length, error, positions[panel, w, q] * bins, length)
    error[: max(0, before - begin) * bins] = 0
    error[min((before + frames - begin) * bins, used) : used] = 0
    if rectified:
        _rectify(error[:used], residual[:used])

    # The loss of the cell's own frames.
    total = 0.0
    own_end = (min(last * pool, frames) - begin + before) * bins
    for at in range((first * pool - begin + before) * bins, own_end, 512):
        total += np.float64(dot(residual, at, residual, at, min(512, own_end - at)))

    # Gradients, a few windows at a time: those of values and decoder filters for all latents in turn, then those of
    # encoder filters, so that the nearest cache holds the frames of one array.
    for w_first in range(first - outer_first, last - outer_first, near):
        w_last = min(w_first + near, last - outer_first)
        for k in range(latents):
            panel, q, begun = k // width, k % width, k * (near + RUNS)
            c = begun
            for w in range(w_first, w_last):
                v = values[panel, w, q]
                heights[c], starts[c] = v, positions[panel, w, q] * bins
                c += v != 0 or negative_slope != 0
            ended[k] = c
            while (c - begun) % RUNS != 0:  # fill the last block with runs that add nothing
                heights[c], starts[c] = 0, starts[begun]
                c += 1
            row = decoder + k * length
            for block in range(begun, c, RUNS):
                add_and_dot_runs(dots, gradient, row, weights, row, length, heights, starts, block, error)
            cost = weighted[k]
            if silent and cost != 0:
                for c in range(begun, ended[k]):
                    v = heights[c]
                    total += np.float64(cost) * np.float64(v) * np.float64(v)
                    dots[c] += cost * v
            if negative_slope != 0:
                for c in range(begun, ended[k]):
                    if heights[c] <= 0:
                        dots[c] *= negative_slope
        for k in range(latents):
            begun = k * (near + RUNS)
            add_runs(gradient, k * length, length, dots, starts, begun, ended[k], normalised, None)
    return total


@kernel
def _aligned(size, kind):
    """Return an empty array aligned to a cache line: a vector that crosses two lines takes twice as long."""
    room = np.empty(size + 16, dtype=kind)
    skipped = -(room.ctypes.data // 4) % 16
    return room[skipped : skipped + size]


@kernel
def _scratch(sizes, panels):
    """Return the scratch memory of a thread, for any cell."""
    bins, pool = sizes[BINS], sizes[POOL]
    outer = sizes[CELL_WINDOWS] + 2 * sizes[HALO]
    frames = (min(outer * pool, sizes[FRAMES_OF_ITEM] + pool) + FRAMES - 1) // FRAMES * FRAMES
    kind, most = panels.dtype, max((sizes[NEAR] + RUNS) * sizes[LATENTS], PARTIALS)
    runs = (frames + sizes[TAPS] - 1) * bins
    return (
        _aligned(runs, kind),
        _aligned(runs, kind),
        np.empty((panels.shape[0], outer + 1, panels.shape[2]), dtype=kind),
        np.empty((panels.shape[0], outer + 1, panels.shape[2]), dtype=np.int32),
        np.empty(frames, dtype=np.int64),
        np.empty(most, dtype=np.int64),
        np.empty(most, dtype=kind),
        np.empty(most, dtype=kind),
        np.empty(sizes[LATENTS], dtype=np.int64),
        np.empty(GROUPS, dtype=np.int64),
        _aligned(runs if sizes[RECTIFIED] != 0 else 0, kind),
    )


@kernel
def _partial(sizes, scratch, model, step, partial, gradient, cell_losses):
    """Compute one partial sum of the gradients, into `gradient`, and the losses of its cells."""
    gradient[:] = 0
    cells = sizes[BATCH] * sizes[CELLS_PER_ITEM]
    for cell in range(cells * partial // sizes[PARTIAL_SUMS], cells * (partial + 1) // sizes[PARTIAL_SUMS]):
        item, place = cell // sizes[CELLS_PER_ITEM], cell % sizes[CELLS_PER_ITEM]
        first = place * sizes[CELL_WINDOWS]
        last = min(first + sizes[CELL_WINDOWS], (sizes[FRAMES_OF_ITEM] + sizes[POOL] - 1) // sizes[POOL])
        cell_losses[cell] = _cell(sizes, scratch, model, step, item, first, last, gradient)


@kernel
def _slice_of(sizes, unit):
    """Return the first latent and column of slice `unit`, their counts, and 1 for the decoder or 0 for the encoder."""
    length = sizes[TAPS] * sizes[BINS]
    blocks, groups = (length + COLUMNS - 1) // COLUMNS, (sizes[LATENTS] + LANES - 1) // LANES
    decoder, rest = unit // (groups * blocks), unit % (groups * blocks)
    k, column = rest // blocks * LANES, rest % blocks * COLUMNS
    return k, column, min(LANES, sizes[LATENTS] - k), min(COLUMNS, length - column), decoder


@kernel
def _add_up(sizes, unit, partials, starts, heights, total):
    """Add the partial sums in order, times 2 / B, on one slice."""
    first, column, latents, columns, decoder = _slice_of(sizes, unit)
    length, count = sizes[TAPS] * sizes[BINS], partials.shape[0]
    heights[:count] = total.dtype.type(2.0 / sizes[BATCH])
    for k in range(first, first + latents):
        at = (decoder * sizes[LATENTS] + k) * length + column
        for partial in range(count):
            starts[partial] = partial * partials.shape[1] + at
        total[at : at + columns] = 0
        add_runs(total, at, columns, heights, starts, 0, count, partials, None)


# The rules' `settings` are what `settings_at` returns, of the weights' type: no sum is made in a wider one.


@kernel
def step_slice(rule, weight, gradient, state, settings, begin, end):
    """Step weight[begin : end]; `rule` is a number of RULE_NUMBERS, `state` (the rule's state tensors, weights)."""
    w, g, s, decay = weight[begin:end], gradient[begin:end], state[0][begin:end], settings[7]
    if decay != 0:  # in a pass of its own: inside the rules' loops it would change how their products are rounded
        g = g + decay * w
    if rule == 0:
        _adadelta(w, g, s, state[1][begin:end], settings)
    elif rule == 1:
        _adam(w, g, s, state[1][begin:end], settings)
    elif rule == 2:
        _sgd(w, g, s, settings)
    else:
        _nesterov(w, g, s, settings)


@kernel
def _adadelta(weight, gradient, square, delta, settings):
    rate, kept, added, small = settings[0], settings[1], settings[2], settings[6]
    for i in range(weight.size):
        g = gradient[i]
        s = kept * square[i] + added * g * g
        square[i] = s
        change = np.sqrt(delta[i] + small) / np.sqrt(s + small) * g
        delta[i] = kept * delta[i] + added * change * change
        weight[i] -= rate * change


@kernel
def _adam(weight, gradient, mean, square, settings):
    rate, kept1, added1, kept2, added2 = settings[0], settings[1], settings[2], settings[3], settings[4]
    correction, small = settings[5], settings[6]
    for i in range(weight.size):
        g = gradient[i]
        m = kept1 * mean[i] + added1 * g
        s = kept2 * square[i] + added2 * g * g
        mean[i], square[i] = m, s
        weight[i] -= rate * m / (np.sqrt(s * correction) + small)


@kernel
def _sgd(weight, gradient, velocity, settings):
    rate, momentum = settings[0], settings[1]
    for i in range(weight.size):
        v = momentum * velocity[i] + gradient[i]
        velocity[i] = v
        weight[i] -= rate * v


@kernel
def _nesterov(weight, gradient, velocity, settings):
    rate, momentum = settings[0], settings[1]
    for i in range(weight.size):
        g = gradient[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        weight[i] -= rate * (g + momentum * v)


@kernel
def _update(sizes, unit, model, state, settings, total):
    """Take the optimizer's step on one slice, and update the encoder's panels."""
    weights, panels = model[0], model[1]
    first, column, latents, columns, decoder = _slice_of(sizes, unit)
    length, width = sizes[TAPS] * sizes[BINS], panels.shape[2]
    for k in range(first, first + latents):
        at = (decoder * sizes[LATENTS] + k) * length + column
        step_slice(sizes[RULE], weights, total, state, settings, at, at + columns)
    if not decoder:
        for j in range(column, column + columns):
            for k in range(first, first + latents):
                panels[first // width, j, k % width] = weights[k * length + j]


@kernel
def _model(models, g):
    """Return the part of the arrays that belongs to run g."""
    weights, panels, seeds, starts_before, shift, group_first, group_starts = models[:7]
    sources, targets, mean, inverse, weighted, negative_slopes = models[7:]
    crops = seeds[g], starts_before[g], shift[g], group_first[g], group_starts[g]
    return weights[g], panels[g], crops, (sources[g], targets[g]), mean[g], inverse[g], weighted[g], negative_slopes[g]


@kernel
def _together(counters, sizes, models, states, settings, partials, totals, cell_losses, losses, first, slices):
    """Run the steps of one run on all threads."""
    size, model, state, total = sizes[0], _model(models, 0), states[0], totals[0]
    scratch = _scratch(size, model[1])
    sums = size[PARTIAL_SUMS]
    unit = next_unit(counters, -1)
    while unit >= 0:
        i, part = unit // (sums + slices), unit % (sums + slices)
        if part < sums:
            wait_until_done(counters, i * (sums + slices))
            _partial(size, scratch, model, first + i, part, partials[part], cell_losses[0])
        else:
            wait_until_done(counters, i * (sums + slices) + sums)
            _add_up(size, part - sums, partials, scratch[5], scratch[6], total)
            _update(size, part - sums, model, state, settings[0, i], total)
            if part == sums:
                losses[0, i] = cell_losses[0].sum() / size[BATCH]
        unit = next_unit(counters, unit)


@kernel
def _side_by_side(counters, progress, sizes, models, states, settings, totals, cell_losses, losses, first, slices):
    """Run many runs, each on one thread at a time, in turns of TURN steps; a turn waits for the run's previous turn."""
    scratch = _scratch(sizes[0], models[1][0])
    partial_sum = _aligned(totals.shape[1], totals.dtype)
    runs = losses.shape[0]
    unit = next_unit(counters, -1)
    while unit >= 0:
        turn, g = unit // runs, unit % runs
        wait_for(progress, g * 8, turn)
        size, model, state, total = sizes[g], _model(models, g), states[g], totals[g]
        for i in range(turn * TURN, min((turn + 1) * TURN, losses.shape[1])):
            total[:] = 0
            for partial in range(size[PARTIAL_SUMS]):
                _partial(size, scratch, model, first + i, partial, partial_sum, cell_losses[g])
                scratch[5][0], scratch[6][0] = 0, total.dtype.type(2.0 / size[BATCH])
                add_runs(total, 0, total.size, scratch[6], scratch[5], 0, 1, partial_sum, None)
            for part in range(slices):
                _update(size, part, model, state, settings[g, i], total)
            losses[g, i] = cell_losses[g].sum() / size[BATCH]
        count_up(progress, g * 8)
        unit = next_unit(counters, unit)


def refusal(runs: Sequence[TrainingRun]) -> str | None:
    groups = len(runs[0].crops.group_first)
    if groups > GROUPS:
        return f"it mixes up to {GROUPS} groups and there are {groups}; use eager"
    if any(run.w_enc.dtype != torch.float32 or run.crops.source.dtype != torch.float32 for run in runs):
        return "it takes float32 weights and recordings; convert them or use eager"
    return None


def train_steps(runs: Sequence[TrainingRun], first: int, steps: int) -> Tensor:
    losses = torch.empty(len(runs), steps, dtype=torch.float64)
    if 1 < len(runs) < torch.get_num_threads():  # fewer runs than threads: all threads work on one run after the other
        for run, row in zip(runs, losses, strict=True):
            row[:] = train_steps([run], first, steps)[0]
        return losses
    cut, packed, settings = plan(runs[0].shape), _Packed(runs), _settings(runs, first, steps)
    _, _, bins, latents, taps, _ = runs[0].shape
    slices = 2 * window_count(latents, LANES) * window_count(taps * bins, COLUMNS)
    totals = aligned(packed.weights.shape)
    cell_losses = np.empty((len(runs), runs[0].crops.batch * cut.cells_per_item))
    inputs = packed.sizes, packed.models, packed.states, settings
    outputs = totals, cell_losses, losses.numpy(), first, slices
    if len(runs) == 1:
        partials = aligned((cut.partials, totals.shape[1]))
        spread(_together, steps * (cut.partials + slices), _WORTH_IT, *inputs, partials, *outputs)
    else:
        progress = np.zeros(8 * len(runs), dtype=np.int64)
        spread(_side_by_side, len(runs) * window_count(steps, TURN), _WORTH_IT, progress, *inputs, *outputs)
    packed.unpack(runs)
    return losses


def aligned(shape: tuple[int, ...], values: ArrayLike | None = None) -> np.ndarray:
    """Return a float32 array of zeros or of `values`, aligned to a cache line."""
    size = int(np.prod(shape))
    room = np.zeros(size + 16, dtype=np.float32)
    skipped = -(room.ctypes.data // 4) % 16
    array = room[skipped : skipped + size].reshape(shape)
    if values is not None:
        array[...] = values
    return array


class _Packed:
    """The runs as the kernels take them: arrays with the runs along the first axis."""

    def __init__(self, runs: Sequence[TrainingRun]) -> None:
        crops, first, cut = [run.crops for run in runs], runs[0], plan(runs[0].shape)
        _, _, bins, latents, taps, _ = first.shape
        self.sizes = np.stack([_sizes(run, cut) for run in runs])
        self.weights = aligned((len(runs), 2 * first.w_enc.numel()), [_rows(run.w_enc, run.w_dec) for run in runs])
        kept = range(len(first.state["w_enc"]))
        self.states = np.stack([[_rows(r.state["w_enc"][i], r.state["w_dec"][i]) for i in kept] for r in runs])
        encoders = self.weights[:, : latents * taps * bins].reshape(len(runs), latents, taps * bins)
        panels = window_count(latents, cut.width)
        wide = np.zeros((len(runs), panels * cut.width, taps * bins), dtype=np.float32)
        wide[:, :latents] = encoders
        columns = wide.reshape(len(runs), panels, cut.width, -1).transpose(0, 1, 3, 2)
        self.panels = aligned(columns.shape, columns)
        # Referenced while their addresses are in use.
        self.sources = [c.source.detach().contiguous() for c in crops]
        self.targets = [
            source if c.target is None else c.target.detach().contiguous()
            for c, source in zip(crops, self.sources, strict=True)
        ]
        times = max(1, FILL // bins)
        weighted = [run.foreground.double().numpy() ** 2 * run.latent_weight for run in runs]
        self.models = (
            self.weights,
            self.panels,
            np.array([c.seed for c in crops], dtype=np.uint64),
            _padded([c.starts_before for c in crops], np.iinfo(np.int64).max),
            _padded([c.shift for c in crops], 0),
            np.stack([c.group_first for c in crops]),
            np.stack([c.group_starts for c in crops]),
            np.array([source.data_ptr() for source in self.sources], dtype=np.int64),
            np.array([target.data_ptr() for target in self.targets], dtype=np.int64),
            np.stack([np.tile(run.mean.numpy(), times) for run in runs]).astype(np.float32),
            np.stack([np.tile(1 / run.std.double().numpy(), times) for run in runs]).astype(np.float32),
            np.stack(weighted).astype(np.float32),
            np.array([run.negative_slope for run in runs], dtype=np.float32),
        )

    def unpack(self, runs: Sequence[TrainingRun]) -> None:
        """Copy weights and states back to the runs."""
        for run, weights, states in zip(runs, self.weights, self.states, strict=True):
            _put_back(weights, run.w_enc, run.w_dec)
            for i, rows in enumerate(states):
                _put_back(rows, run.state["w_enc"][i], run.state["w_dec"][i])


def _sizes(run: TrainingRun, cut: Plan) -> np.ndarray:
    """Return the integer settings of a run."""
    sizes = np.empty(17, dtype=np.int64)
    sizes[[BATCH, FRAMES_OF_ITEM, BINS, LATENTS, TAPS, POOL]] = run.shape
    sizes[[HALO, NEAR, CELL_WINDOWS]] = cut.halo, cut.near_windows, cut.cell_windows
    sizes[[CELLS_PER_ITEM, PARTIAL_SUMS, RULE]] = cut.cells_per_item, cut.partials, RULE_NUMBERS[run.optimizer]
    crops = run.crops
    sizes[[NOISE_ITEMS, SIGNAL_GROUPS]] = crops.noise_items, crops.signal_groups
    sizes[[NOISE_GROUPS, CORRUPTION_GROUPS]] = crops.noise_groups, crops.corruption_groups
    sizes[RECTIFIED] = run.rectified_output
    return sizes


def _rows(enc: Tensor, dec: Tensor) -> np.ndarray:
    """Return (M, H, K) and (M, K, H) as rows (K, M*H), end to end, in the order of a run: encode's last tap first."""
    encoder = enc.detach().numpy()[::-1].transpose(2, 0, 1)
    decoder = dec.detach().numpy().transpose(1, 0, 2)
    return np.concatenate([encoder.reshape(-1), decoder.reshape(-1)])


def _put_back(rows: np.ndarray, enc: Tensor, dec: Tensor) -> None:
    """Copy rows, as `_rows` returns them, back to the filters."""
    taps, bins, latents = enc.shape
    encoder, decoder = rows.reshape(2, latents, taps, bins)
    enc.detach().numpy()[:] = encoder.transpose(1, 2, 0)[::-1]
    dec.detach().numpy()[:] = decoder.transpose(1, 0, 2)


def _padded(tables: list[np.ndarray], value: int) -> np.ndarray:
    """Return tables of different lengths as one array, padded with `value`."""
    out = np.full((len(tables), max(map(len, tables))), value, dtype=np.int64)
    for row, table in zip(out, tables, strict=True):
        row[: len(table)] = table
    return out


def _settings(runs: Sequence[TrainingRun], first: int, steps: int) -> np.ndarray:
    """Return the optimizer's settings (runs, steps, settings); only Adam's differ between steps."""
    changing = runs[0].optimizer == "adam"
    rows = [[settings_at(r.optimizer, first + i, r.options) for i in range(steps if changing else 1)] for r in runs]
    table = np.array(rows, dtype=np.float32)
    return table if changing else np.repeat(table, steps, axis=1)
