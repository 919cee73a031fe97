"""Compare versions of encode on one CPU thread, from NumPy to the fused kernel.

docs/kernels.md explains them. `python -m partae_fast.bench.encode_versions [FILE.json]` checks every version against
the float64 reference, times all of them in turn in many rounds, and prints medians, quantiles and ratios.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from partae_fast.atomic import atomic_path
from partae_fast.kernels import implementation
from partae_fast.reference import encode as reference

from .timing import QUANTILES, environment, measure

Array = np.ndarray

SHAPE = {"B": 16, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16}  # the paper's configuration
ROUNDS = 60
TOLERANCE = 1e-5  # relative root-mean-square error, as in `partae verify`
# Sums may be reordered and fused; NaN and infinity are still handled correctly.
compiled = numba.njit(nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")


def from_numpy(x: Array, w_enc: Array, pool: int, mean: Array, std: Array) -> tuple[Array, Array]:
    """Encode with NumPy, by one matrix product per tap."""
    taps, frames = len(w_enc), x.shape[1]
    after = (taps - 1) // 2
    padded = np.pad((x - mean) / std, ((0, 0), (taps - 1 - after, after), (0, 0)))
    z = sum(padded[:, taps - 1 - m : taps - 1 - m + frames] @ w_enc[m] for m in range(taps))
    return _pooled(np.maximum(z, 0), pool)


def _pooled(activations: Array, pool: int) -> tuple[Array, Array]:
    """Return the maximum of each window and its frame; the windows must fill the recording."""
    batch, frames, latents = activations.shape
    windowed = activations.reshape(batch, frames // pool, pool, latents)
    frame_in_window = windowed.argmax(axis=2)
    values = np.take_along_axis(windowed, frame_in_window[:, :, None], axis=2)[:, :, 0]
    return values, (frame_in_window + pool * np.arange(frames // pool)[:, None]).astype(np.int32)


@compiled
def naive(x, w_enc, pool, mean, std):
    """Encode by the equation, one number at a time; all activations are stored and then pooled."""
    batch, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    after = (taps - 1) // 2
    z = np.empty((batch, frames, latents), x.dtype)
    for b in range(batch):
        for n in range(frames):
            for k in range(latents):
                total = x.dtype.type(0)
                for m in range(taps):
                    frame = n + after - m
                    if 0 <= frame < frames:
                        for h in range(bins):
                            total += w_enc[m, h, k] * (x[b, frame, h] - mean[h]) / std[h]
                z[b, n, k] = total
    return _pool(z, pool)


@compiled
def _pool(z, pool):
    """Return the maximum of each window after ReLU, and its first frame."""
    batch, frames, latents = z.shape
    windows = (frames + pool - 1) // pool
    values = np.zeros((batch, windows, latents), z.dtype)
    positions = np.empty((batch, windows, latents), np.int32)
    for b in range(batch):
        for p in range(windows):
            positions[b, p] = p * pool
            for n in range(p * pool, min(p * pool + pool, frames)):
                for k in range(latents):
                    if not z[b, n, k] <= values[b, p, k]:
                        values[b, p, k] = z[b, n, k]
                        positions[b, p, k] = n
    return values, positions


@compiled
def _padded(x, taps, mean, inverse):
    """Return the normalised frames of one item, padded with zeros, (N + M - 1, H)."""
    frames, bins = x.shape
    before = taps - 1 - (taps - 1) // 2
    out = np.zeros((frames + taps - 1, bins), x.dtype)
    for n in range(frames):
        for h in range(bins):
            out[before + n, h] = (x[n, h] - mean[h]) * inverse[h]
    return out


@compiled
def blocked(x, w_enc, pool, mean, std):
    """Encode eight frames at a time with each row of filters; the innermost loop is over latents."""
    batch, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    inverse = 1 / std
    z = np.zeros((batch, frames, latents), x.dtype)
    for b in range(batch):
        xn = _padded(x[b], taps, mean, inverse)
        for first in range(0, frames, 8):
            last = min(first + 8, frames)
            for m in range(taps):
                for h in range(bins):
                    row = w_enc[m, h]
                    for n in range(first, last):
                        number = xn[n + taps - 1 - m, h]
                        for k in range(latents):
                            z[b, n, k] += number * row[k]
    return _pool(z, pool)


@compiled
def _dots(xn, rows, n, k, length, bins):
    """Return the dot products of the 4 runs that begin at frames n to n + 3 with the filters k to k + 3."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = xn.dtype.type(0)
    c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = xn.dtype.type(0)
    x0, x1 = xn[n * bins : n * bins + length], xn[(n + 1) * bins : (n + 1) * bins + length]
    x2, x3 = xn[(n + 2) * bins : (n + 2) * bins + length], xn[(n + 3) * bins : (n + 3) * bins + length]
    w0, w1, w2, w3 = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
    for j in range(length):
        a0, a1, a2, a3 = a0 + x0[j] * w0[j], a1 + x0[j] * w1[j], a2 + x0[j] * w2[j], a3 + x0[j] * w3[j]
        b0, b1, b2, b3 = b0 + x1[j] * w0[j], b1 + x1[j] * w1[j], b2 + x1[j] * w2[j], b3 + x1[j] * w3[j]
        c0, c1, c2, c3 = c0 + x2[j] * w0[j], c1 + x2[j] * w1[j], c2 + x2[j] * w2[j], c3 + x2[j] * w3[j]
        d0, d1, d2, d3 = d0 + x3[j] * w0[j], d1 + x3[j] * w1[j], d2 + x3[j] * w2[j], d3 + x3[j] * w3[j]
    return (a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3), (d0, d1, d2, d3)


@compiled
def _runs(x, rows, pool, mean, std):
    batch, frames, bins = x.shape
    latents, length = rows.shape
    z = np.empty((batch, frames, latents), x.dtype)
    for b in range(batch):
        xn = _padded(x[b], length // bins, mean, 1 / std).reshape(-1)
        for n in range(0, frames, 4):
            for k in range(0, latents, 4):
                block = _dots(xn, rows, n, k, length, bins)
                for i in range(4):
                    for q in range(4):
                        z[b, n + i, k + q] = block[i][q]
    return _pool(z, pool)


def runs(x: Array, w_enc: Array, pool: int, mean: Array, std: Array) -> tuple[Array, Array]:
    """Encode with one dot product of two contiguous runs of M*H numbers for each activation."""
    return _runs(x, _rows(w_enc), pool, mean, std)


def _rows(w_enc: Array) -> Array:
    """Return the filters flipped in time, (K, M*H), each in the order of a run of frames."""
    return np.ascontiguousarray(w_enc[::-1].transpose(2, 0, 1).reshape(w_enc.shape[2], -1))


@compiled
def _fused(x, rows, pool, mean, std):
    batch, frames, bins = x.shape
    latents, length = rows.shape
    taps = length // bins
    before, inverse = taps - 1 - (taps - 1) // 2, 1 / std
    values = np.zeros((batch, frames // pool, latents), x.dtype)
    positions = np.empty((batch, frames // pool, latents), np.int32)
    xn = np.empty((pool + taps - 1) * bins, x.dtype)  # one window and the frames around it fit in the first-level cache
    for b in range(batch):
        for p in range(frames // pool):
            for i in range(pool + taps - 1):
                n = p * pool - before + i
                for h in range(bins):
                    xn[i * bins + h] = (x[b, n, h] - mean[h]) * inverse[h] if 0 <= n < frames else 0
            positions[b, p] = p * pool
            for k in range(0, latents, 4):
                for n in range(0, pool, 4):
                    block = _dots(xn, rows, n, k, length, bins)
                    for i in range(4):
                        for q in range(4):
                            if not block[i][q] <= values[b, p, k + q]:
                                values[b, p, k + q] = block[i][q]
                                positions[b, p, k + q] = p * pool + n + i
    return values, positions


def fused(x: Array, w_enc: Array, pool: int, mean: Array, std: Array) -> tuple[Array, Array]:
    """Encode like `runs`, but normalise, rectify and pool one window at a time; no activation is stored."""
    return _fused(x, _rows(w_enc), pool, mean, std)


def kernel(x: Array, w_enc: Array, pool: int, mean: Array, std: Array) -> tuple[Array, Array]:
    """Encode with kernels/encode/cpu.py: fused, with explicit vector code."""
    tensors = (torch.from_numpy(array) for array in (x, w_enc, mean, std))
    x_tensor, w_tensor, mean_tensor, std_tensor = tensors
    values, positions = implementation("encode", "cpu").encode(x_tensor, w_tensor, pool, mean_tensor, std_tensor)
    return values.numpy(), positions.numpy()


VERSIONS = {
    "numpy": from_numpy,
    "1 naive": naive,
    "2 blocked": blocked,
    "3 runs": runs,
    "4 fused": fused,
    "kernels/encode/cpu.py": kernel,
}


def inputs(shape: dict[str, int]) -> tuple[Array, Array, int, Array, Array]:
    """Return random arguments for a version.

    Windows must fill the recording; the numbers of frames, of latents and of frames in a window must be multiples of 4.
    """
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal((shape["B"], shape["N"], shape["H"]))).astype(np.float32)
    w_enc = (rng.standard_normal((shape["M"], shape["H"], shape["K"])) / (shape["M"] * shape["H"]) ** 0.5).astype("f4")
    return x, w_enc, shape["P"], x.mean((0, 1)), x.std((0, 1))


def error(version: Any, arguments: tuple) -> float:
    """Return the larger relative root-mean-square error: of values, or of activations at positions."""
    values, positions = version(*arguments)
    truth, _ = reference.encode(*arguments)
    x, w_enc, _, mean, std = arguments
    at_positions = reference.values_at(x, w_enc, positions, mean, std)
    return max(float(np.linalg.norm(result - truth) / np.linalg.norm(truth)) for result in (values, at_positions))


def compare(shape: dict[str, int], rounds: int) -> dict[str, Any]:
    """Check every version, then time all of them. Raises AssertionError if a version is wrong."""
    arguments = inputs(shape)
    errors = {name: error(version, arguments) for name, version in VERSIONS.items()}
    for name, largest in errors.items():
        if not largest <= TOLERANCE:
            raise AssertionError(f"{name} is off by {largest:.2g}, above {TOLERANCE}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        samples = measure({n: lambda v=v: v(*arguments) for n, v in VERSIONS.items()}, "cpu", rounds)
        about = environment()
    finally:
        torch.set_num_threads(threads)
    flop = 2 * shape["B"] * shape["N"] * shape["K"] * shape["M"] * shape["H"]
    rows = []
    for name, seconds in samples.items():
        low, middle, high = (float(q) for q in np.quantile(seconds, QUANTILES))
        ratio = float(np.median(samples["1 naive"] / seconds))  # round by round, because other programs slow both alike
        rows.append(
            {
                "version": name,
                "seconds_10": low,
                "seconds": middle,
                "seconds_90": high,
                "gflop_per_s": flop / middle / 1e9,
                "times_naive": ratio,
                "error": errors[name],
            }
        )
    return {"environment": about, "shape": shape, "rounds": rounds, "rows": rows}


def table(report: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| version | median | 10 to 90 % | GFLOP/s | times naive |", "|---|---:|---:|---:|---:|"]
    for row in report["rows"]:
        low, middle, high = (f"{row[name] * 1e3:.3g}" for name in ("seconds_10", "seconds", "seconds_90"))
        rate, ratio = f"{row['gflop_per_s']:.3g}", f"{row['times_naive']:.3g}"
        lines.append(f"| {row['version']} | {middle} ms | {low} to {high} ms | {rate} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    report = compare(SHAPE, ROUNDS)
    print(table(report))
    if len(sys.argv) > 1:
        with atomic_path(Path(sys.argv[1])) as file:
            file.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
