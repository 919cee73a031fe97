"""The way from samples to magnitudes and back on the CPU: frames, windows, transforms and mask in one pass each way.

What stft.py does, LANES frames at a time, a frame to a lane: nothing but the band's spectra, the magnitudes and the
gains goes through memory.

The L samples of a frame are transformed as M = L/2 complex numbers z[t] = x[2t] + i x[2t+1]. With W = exp(-2 pi i / L),
Z[M] = Z[0] and * for the conjugate, for k = 0 .. M,

    X[k] = (Z[k] + Z[M-k]*) / 2 - i W^k (Z[k] - Z[M-k]*) / 2
    Z[k] = (X[k] + X[M-k]*) / 2 + i W^-k (X[k] - X[M-k]*) / 2

The factors, 1/2 and 1/M of the inverse, are in the windows.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram
from ..kernels._cpu.jit import kernel
from ..kernels._cpu.threads import next_unit, spread
from ..kernels.fft import roots_of_unity, rows_of, transform
from ..kernels.vectors import LANES, aligned, fill, load, root, store, transpose

OPERATIONS = 30  # for each sample of each frame, about


def serves(spectrogram: Spectrogram) -> bool:
    """Whether frames are such that these kernels take them: n_fft and hop powers of 2, a hop LANES samples or more."""
    return not spectrogram.n_fft & (spectrogram.n_fft - 1) and spectrogram.hop >= LANES


@kernel
def _analyse(counters, parts, magnitudes, samples, window, cosines, sines, order, hop, first, scale):
    frames, bins = magnitudes.shape[1], magnitudes.shape[2]
    tiles, half = parts.shape[1], window.size // 2
    overlap = window.size // hop
    width, size = _whole(LANES + overlap - 1), _whole(bins)
    columns = aligned(hop * width)  # sample u of hop r at u * width + r
    re, im = aligned(half * LANES), aligned(half * LANES)
    loud, rows = aligned(size * LANES), aligned(LANES * size)
    unit = next_unit(counters, -1)
    while unit >= 0:
        item, tile = unit // tiles, unit % tiles
        audio, x_re, x_im = samples[item], parts[item, tile, 0], parts[item, tile, 1]
        for r in range(0, width, LANES):
            for u in range(0, hop, LANES):
                transpose(columns, u * width + r, width, audio, (tile * LANES + r) * hop + u, hop)
        for j in range(overlap):
            for u in range(0, hop, 2):
                s, at = j * hop + u, u * width + j
                store(load(columns, at) * fill(window, s), re, s // 2 * LANES)
                store(load(columns, at + width) * fill(window, s + 1), im, s // 2 * LANES)
        transform(re, im, half, cosines, sines)
        for h in range(bins):
            k = first + h
            a, b = order[k] * LANES, order[half - k] * LANES
            even_re, even_im = load(re, a) + load(re, b), load(im, a) - load(im, b)
            odd_re, odd_im = load(im, a) + load(im, b), load(re, b) - load(re, a)
            cos, sin = fill(cosines, k), fill(sines, k)
            k_re, k_im = even_re + cos * odd_re - sin * odd_im, even_im + cos * odd_im + sin * odd_re
            store(k_re, x_re, h * LANES)
            store(k_im, x_im, h * LANES)
            store(root(k_re * k_re + k_im * k_im), loud, h * LANES)
        for h in range(0, size, LANES):
            transpose(rows, h, size, loud, h * LANES, LANES)
        for n in range(tile * LANES, min((tile + 1) * LANES, frames)):
            out, at = magnitudes[item, n], (n - tile * LANES) * size
            for h in range(bins):
                out[h] = scale * rows[at + h]
        unit = next_unit(counters, unit)


@kernel
def _synthesise(counters, totals, finite, parts, gains, window, cosines, sines, order, hop, first, floor, before):
    frames, bins = gains.shape[1], gains.shape[2]
    overlap, half = window.size // hop, window.size // 2
    width, size = _whole(LANES + overlap - 1), _whole(bins)
    columns = aligned(hop * width)
    re, im = aligned(half * LANES), aligned(half * LANES)
    factors, rows = aligned(size * LANES), aligned(LANES * size)
    x_re, x_im = aligned((half + 1) * LANES), aligned((half + 1) * LANES)
    x_re[:] = 0
    x_im[:] = 0
    tiles = (before + frames - 1) // LANES - before // LANES + 1
    item = next_unit(counters, -1)
    while item >= 0:
        out = totals[item]
        columns[:] = 0
        for tile in range(tiles):
            here = before // LANES + tile
            for f in range(LANES):
                n, at = here * LANES + f - before, f * size
                if n < 0 or n >= frames:
                    rows[at : at + bins] = 0
                elif not _factors(rows[at : at + bins], gains[item, n], floor):
                    finite[0] = False
            for h in range(0, size, LANES):
                transpose(factors, h * LANES, LANES, rows, h, size)
            part_re, part_im = parts[item, here, 0], parts[item, here, 1]
            for h in range(0, bins * LANES, LANES):
                factor = load(factors, h)
                store(load(part_re, h) * factor, x_re, first * LANES + h)
                store(load(part_im, h) * factor, x_im, first * LANES + h)
            for k in range(half):
                a, b = k * LANES, (half - k) * LANES
                even_re, even_im = load(x_re, a) + load(x_re, b), load(x_im, a) - load(x_im, b)
                odd_re, odd_im = load(x_re, a) - load(x_re, b), load(x_im, a) + load(x_im, b)
                cos, sin = fill(cosines, k), fill(sines, k)
                store(even_re + sin * odd_re - cos * odd_im, re, a)
                store(even_im + sin * odd_im + cos * odd_re, im, a)
            transform(im, re, half, cosines, sines)
            for j in range(overlap):
                for u in range(0, hop, 2):
                    s, at = j * hop + u, u * width + j
                    row = order[s // 2] * LANES
                    store(load(columns, at) + load(re, row) * fill(window, s), columns, at)
                    at += width
                    store(load(columns, at) + load(im, row) * fill(window, s + 1), columns, at)
            for u in range(0, hop, LANES):
                transpose(out, tile * LANES * hop + u, hop, columns, u * width, width)
            # What has begun of the frames to come.
            for u in range(0, hop * width, width):
                for r in range(u, u + width - LANES):
                    columns[r] = columns[r + LANES]
                columns[u + width - LANES : u + width] = 0
        for r in range(0, width - LANES, LANES):
            for u in range(0, hop, LANES):
                transpose(out, (tiles * LANES + r) * hop + u, hop, columns, u * width + r, width)
        item = next_unit(counters, item)


@kernel
def _factors(factors, gains, floor):
    """Fill `factors` with max(gain, floor) - floor; whether all gains are finite."""
    total = np.float32(0)
    for h in range(gains.size):
        total += gains[h]
        factor = gains[h] - floor
        factors[h] = np.float32(0) if factor < 0 else factor
    return np.isfinite(total)


@kernel
def _whole(count):
    """The least multiple of LANES that is at least `count`."""
    return (count + LANES - 1) // LANES * LANES


@functools.cache
def _tables(spectrogram: Spectrogram, factor: float) -> tuple[NDArray[np.generic], ...]:
    """The window times a factor; roots of unity; where the transform of half a frame leaves which frequency."""
    cosines, sines = roots_of_unity(spectrogram.n_fft)
    order = rows_of(spectrogram.n_fft // 2)
    return spectrogram.window_samples * np.float32(factor), cosines, sines, np.append(order, order[0])


def analyse(samples: NDArray[np.float32], spectrogram: Spectrogram) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Samples (T, C) -> spectra of the band and their magnitudes times `spectrogram.gain`, (C, frames, bins).

    Frames begin at samples 0, hop, 2 hop ... The spectra are (C, tiles, 2, bins * LANES): of each LANES frames, the
    real parts and the imaginary parts, frame n of bin h at h * LANES + n.
    """
    hop, bins = spectrogram.hop, spectrogram.bins
    channels, frames = samples.shape[1], (len(samples) - spectrogram.n_fft) // hop + 1
    tiles = -(-frames // LANES)
    padded = np.zeros((channels, ((tiles - 1) * LANES + _width(spectrogram)) * hop), np.float32)
    padded[:, : len(samples)] = samples.T
    parts = aligned(channels * tiles * 2 * bins * LANES).reshape(channels, tiles, 2, bins * LANES)
    magnitudes = np.empty((channels, frames, bins), np.float32)
    work = OPERATIONS * channels * frames * spectrogram.n_fft
    tables, scale = _tables(spectrogram, 0.5), np.float32(spectrogram.gain)
    spread(_analyse, channels * tiles, work, parts, magnitudes, padded, *tables, hop, spectrogram.first, scale)
    return parts, magnitudes


def synthesise(
    parts: NDArray[np.float32], gains: NDArray[np.float32], spectrogram: Spectrogram, floor: float, before: int
) -> NDArray[np.float32] | None:
    """The sum of the windowed frames from `before` on, (channels, (frames - 1) * hop + n_fft), weighted by gains.

    parts: as from `analyse`. gains: (C, frames, bins); spectra are multiplied by max(gain, floor) - floor, and by 0
    outside the band. None where a gain is not finite.
    """
    hop = spectrogram.hop
    channels, frames, _ = gains.shape
    tiles = (before + frames - 1) // LANES - before // LANES + 1
    totals = np.empty((channels, ((tiles - 1) * LANES + _width(spectrogram)) * hop), np.float32)
    finite = np.ones(1, np.bool_)
    work = OPERATIONS * channels * frames * spectrogram.n_fft
    tables = _tables(spectrogram, 1 / spectrogram.n_fft)
    spread(
        _synthesise,
        channels,
        work,
        *(totals, finite, parts, gains, *tables, hop, spectrogram.first, np.float32(floor), before),
    )
    start = before % LANES * hop
    return totals[:, start : start + (frames - 1) * hop + spectrogram.n_fft] if finite[0] else None


def _width(spectrogram: Spectrogram) -> int:
    """Hops that LANES frames reach over, a multiple of LANES."""
    return _whole(LANES + spectrogram.n_fft // spectrogram.hop - 1)
