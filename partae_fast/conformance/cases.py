"""Cases of the convolutional ops: shapes and kinds of input that break kernels."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .memory import offset, strided


@dataclass(frozen=True)
class Case:
    """The shapes of an input, and `kind`, the property of its numbers.

    "random"         magnitudes between 0 and 4, in contiguous tensors
    "signed"         x has both signs; "tiny", "huge": near the ends of the type's range; "graded": with a scale that
                     differs between items
    "infinite"       some of x and of the latents are infinite
    "nan", "nan filters", "nan above"           NaN in x and the latents, in the filters, in the incoming gradients
    "infinite above"                            infinity in the incoming gradients
    "small std", "large std", "uneven std"      std from 1e-3 to 1e-2, from 100 to 1000, from 1e-3 to 1e3
    "soft"           labels and mask are between 0 and 1
    "negative"       no activation is positive; "ties": sums of small integers, which are exact in every type
    "not contiguous", "offset"   every tensor is strided, or starts at the fourth element of its storage
    "expanded"       the incoming gradients are one number with strides of 0, as from `.sum().backward()`
    """

    name: str
    batch: int
    frames: int
    bins: int
    latents: int
    taps: int
    pool: int
    kind: str = "random"
    normalised: bool = True
    share: float = 0.25  # of background latents
    noise_only: float = 0.5  # of items
    corruption: int = 0  # groups, in whole steps
    targets: bool = False  # whether some recordings have targets, in whole steps
    negative_slope: float = 0.0
    rectified_output: bool = False  # in whole steps
    penalty: float = 0.75


# Small enough for Triton's interpreter, which takes about half a millisecond for a program.
TINY = [
    Case("ones", 1, 1, 1, 1, 1, 1),
    Case("one frame, wide filter", 1, 1, 3, 2, 5, 4),
    Case("primes", 2, 37, 7, 5, 3, 5),
    Case("short last window", 2, 21, 4, 3, 9, 8),
    Case("pool of one", 1, 13, 3, 4, 2, 1),
    Case("pool longer than the recording", 2, 10, 5, 3, 3, 16),
    Case("filter longer than the recording", 1, 5, 3, 2, 11, 2),
    Case("even filter", 2, 24, 6, 5, 4, 6),
    Case("one tap", 2, 17, 3, 3, 1, 4),
    Case("one bin", 1, 40, 1, 3, 9, 16),
    Case("one latent", 2, 33, 5, 1, 3, 4),
    Case("not contiguous", 2, 20, 6, 4, 3, 4, kind="not contiguous"),
    Case("nothing positive", 2, 20, 4, 3, 3, 4, kind="negative", normalised=False),
    Case("exact ties", 2, 24, 3, 4, 3, 4, kind="ties", normalised=False),
    Case("NaN in one frame", 1, 24, 3, 4, 3, 4, kind="nan"),
    Case("no normalisation", 2, 20, 5, 4, 3, 4, normalised=False),
    Case("every item noise-only", 3, 16, 4, 4, 3, 4, noise_only=1.0),
    Case("no item noise-only", 3, 16, 4, 4, 3, 4, noise_only=0.0),
    Case("no foreground", 2, 16, 4, 4, 3, 4, share=1.0),
    Case("no background", 2, 16, 4, 4, 3, 4, share=0.0),
    Case("corrupted input", 3, 29, 5, 4, 3, 4, corruption=2),
    Case("targets of their own", 3, 27, 5, 4, 3, 4, targets=True),
    Case("targets of their own, corrupted", 3, 29, 5, 4, 3, 4, corruption=1, targets=True),
    Case("leaky rectifier", 2, 26, 5, 4, 3, 4, negative_slope=1 / 3),
    Case("leaky, nothing positive", 2, 20, 4, 3, 3, 4, kind="negative", normalised=False, negative_slope=0.25),
    Case("leaky, exact ties", 2, 23, 3, 4, 3, 4, kind="ties", normalised=False, negative_slope=0.5),
    Case("rectified output", 2, 27, 5, 4, 3, 4, rectified_output=True),
]

# Numbers and layouts that break kernels.
NUMBERS = [
    Case("NaN in one frame, leaky", 2, 23, 3, 4, 4, 5, kind="nan", negative_slope=0.5),
    Case("NaN in one filter", 2, 24, 3, 4, 3, 4, kind="nan filters"),
    Case("NaN from above", 2, 22, 5, 4, 4, 4, kind="nan above"),
    Case("infinite from above", 2, 22, 5, 4, 4, 4, kind="infinite above"),
    Case("infinite", 2, 29, 3, 4, 3, 4, kind="infinite", normalised=False),
    Case("both signs", 2, 26, 5, 4, 3, 4, kind="signed", normalised=False),
    Case("tiny numbers", 2, 22, 5, 4, 3, 4, kind="tiny", normalised=False),
    Case("huge numbers", 2, 23, 5, 4, 3, 4, kind="huge", normalised=False),
    Case("items of many scales", 5, 23, 5, 4, 3, 4, kind="graded", normalised=False),
    Case("small std", 2, 25, 5, 4, 3, 4, kind="small std"),
    Case("large std", 2, 25, 5, 4, 3, 4, kind="large std"),
    Case("uneven std", 2, 25, 7, 4, 3, 4, kind="uneven std"),
    Case("soft labels and mask", 4, 18, 4, 5, 3, 4, kind="soft"),
    Case("no penalty", 3, 18, 4, 5, 3, 4, kind="soft", penalty=0.0),
    Case("heavy penalty", 5, 18, 4, 7, 3, 4, kind="soft", penalty=137.0),
    Case("offset in storage", 2, 21, 7, 5, 3, 4, kind="offset", penalty=10.0),
    Case("one number from above", 2, 21, 5, 4, 3, 4, kind="expanded"),
    Case("leaky, not contiguous", 3, 22, 5, 4, 3, 4, kind="not contiguous", negative_slope=0.2),
]

# Cases that Triton's interpreter skips: their numbers take no other path in the kernels.
UNINTERPRETED = (
    *("NaN in one frame, leaky", "both signs", "items of many scales", "small std", "large std", "uneven std"),
    *("no penalty", "heavy penalty", "leaky, not contiguous"),
)
# Cases of the loss and of whole steps, which encode and decode need not see in the interpreter.
OF_LOSSES = (
    *("every item noise-only", "no item noise-only", "no foreground", "no background", "soft labels and mask"),
    *("corrupted input", "targets of their own", "targets of their own, corrupted", "rectified output"),
)

# Around the sizes of tiles, and the paper's configuration.
LARGER = [
    *(Case(f"{n} frames", 2, n, 8, 6, 5, 4) for n in (15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)),
    *(Case(f"{k} latents", 1, 70, 5, k, 3, 7) for k in (8, 15, 16, 17, 31, 32, 33, 64, 65)),
    *(Case(f"{h} bins", 1, 70, h, 5, 3, 7) for h in (15, 16, 17, 31, 32, 33, 64, 65, 129)),
    Case("pool longer than a tile", 2, 450, 5, 6, 3, 200),
    Case("pool of the whole recording", 1, 1000, 3, 5, 9, 1000),
    Case("one long recording", 1, 4099, 6, 7, 9, 16),
    Case("long filter", 1, 300, 40, 6, 33, 16),
    Case("many items", 67, 19, 5, 3, 3, 4),
    Case("the paper's", 3, 512, 32, 32, 9, 16),
    Case("finer pool, wider band", 2, 320, 64, 32, 9, 4),
    Case("corrupted input in many cells", 1, 1500, 7, 20, 4, 5, corruption=1),
    Case("targets of their own in many cells", 1, 1500, 7, 20, 4, 5, corruption=1, targets=True),
    Case(
        "leaky, rectified, corrupted", 2, 900, 33, 20, 5, 6, corruption=1, negative_slope=1 / 3, rectified_output=True
    ),
]


# Far beyond the tiles of every back-end.
_SMALL = {"batch": 2, "frames": 11, "bins": 3, "latents": 3, "taps": 3, "pool": 4}
_BIG = {"batch": 131, "frames": 4507, "bins": 259, "latents": 133, "taps": 41, "pool": 1031}
_HUGE = {"batch": 1031, "frames": 20011, "bins": 1033, "latents": 517, "taps": 127, "pool": 5003}
# Kinds of random cases; "ties" and "negative" need inputs of their own, so they are not among them.
_DRAWN_KINDS = ("random", "random", "random", "signed", "soft", "not contiguous", "offset", "graded", "expanded")


def one_large(make: Callable[..., Any], small: dict[str, int], huge: dict[str, int]) -> list[Any]:
    """Return cases make(name, **sizes) with one size huge and the others small."""
    return [make(f"{size} {name}", **{**small, name: size}) for name, size in huge.items()]


def two_large(make: Callable[..., Any], small: dict[str, int], big: dict[str, int]) -> list[Any]:
    """Return cases make(name, **sizes) with each pair of sizes big and the others small."""
    names = list(big)
    both = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return [make(f"{big[a]} {a}, {big[b]} {b}", **{**small, a: big[a], b: big[b]}) for a, b in both]


def draw_sizes(
    rng: np.random.Generator, largest: dict[str, int], work: Callable[..., float], limit: float
) -> dict[str, Any]:
    """Return random sizes from 1 to `largest`, log-uniform, whose work(**sizes) is at most `limit`."""
    while True:
        sizes = {name: int(np.exp(rng.uniform(0, np.log(most + 1)))) for name, most in largest.items()}
        if work(**sizes) <= limit:
            return sizes


def _filled(name: str, batch: int, frames: int, pool: int, **sizes: Any) -> Case:
    """Return the case, with more frames than its pool."""
    return Case(name, batch, max(frames, pool + 7 if pool > 100 else frames), pool=pool, **sizes)


BEYOND = [
    *one_large(_filled, _SMALL, _HUGE),
    *(case for case in two_large(_filled, _SMALL, _BIG) if case.batch * case.frames < 500_000),
    Case("71 batch, 4507 frames", 71, 4507, 3, 3, 3, 4),
    Case("more than four million numbers", 1, 130_003, 33, 1, 1, 16),
]


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes, kinds and settings, which depend on the seed only."""
    rng = np.random.default_rng(seed)

    def work(batch: int, frames: int, bins: int, latents: int, taps: int, pool: int) -> float:
        return batch * frames * max(bins * latents * taps, 30 * bins, 30 * latents)

    random_ones = []
    for number in range(count):
        sizes = draw_sizes(rng, _HUGE, work, 4e6)
        kind = str(rng.choice(_DRAWN_KINDS))
        random_ones.append(
            Case(
                f"draw {number} of seed {seed}: {', '.join(f'{k} {v}' for k, v in sizes.items())}, {kind}",
                **sizes,
                kind=kind,
                normalised=kind != "graded" and bool(rng.integers(2)),
                share=float(rng.choice([0.0, 0.25, 0.5])),
                noise_only=float(rng.choice([0.0, 0.25, 1.0])),
                negative_slope=float(rng.choice([0.0, 0.0, 0.3])),
                penalty=float(rng.choice([0.0, 0.3, 10.0])),
            )
        )
    return random_ones


def generator(name: str, draw: int = 0) -> np.random.Generator:
    """Return the random generator of a case; other draws give other numbers."""
    return np.random.default_rng([zlib.crc32(name.encode()), draw])


def scale_of(kind: str, dtype: torch.dtype) -> float:
    """Return the factor of the numbers of a "tiny" or "huge" case: near the ends of the type's range."""
    ends = {"tiny": 1e-2, "huge": 1e2} if dtype == torch.float16 else {"tiny": 1e-30, "huge": 1e30}
    return ends.get(kind, 1.0)


def graded(array: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Scale the items along the first axis by factors from 1e-8 to 1e8 (float16: from 1e-2 to 1e2)."""
    powers = np.linspace(-1, 1, len(array)) * (2 if dtype == torch.float16 else 8)
    return array * 10.0 ** powers.reshape(-1, *[1] * (array.ndim - 1))


def placed(tensor: Tensor, kind: str) -> Tensor:
    """Return the tensor in the memory layout of `kind`."""
    if kind == "not contiguous":
        return strided(tensor)
    return offset(tensor) if kind == "offset" else tensor


def tensors(case: Case, dtype: torch.dtype, device: torch.device, draw: int = 0) -> SimpleNamespace:
    """Return the inputs of every pass for a case, with random incoming gradients; they depend on the draw only."""
    rng = generator(case.name, draw)
    windows = -(-case.frames // case.pool)
    shape = case.batch, case.frames, case.bins

    def tensor(array: np.ndarray) -> Tensor:
        return placed(torch.tensor(array).to(dtype).to(device), case.kind)

    def above(*shape: int) -> Tensor:
        """Return a random incoming gradient."""
        array = rng.standard_normal(shape)
        if case.kind in ("nan above", "infinite above"):
            array[0, shape[1] // 2, -1] = np.nan if case.kind == "nan above" else np.inf
        if case.kind == "expanded":
            return tensor(array.flat[:1].reshape(())).expand(shape)
        return tensor(graded(array, dtype) if case.kind == "graded" else array)

    x = 4.0 * rng.random(shape)
    w_enc = rng.standard_normal((case.taps, case.bins, case.latents)) / math.sqrt(case.taps * case.bins)
    w_dec = rng.standard_normal((case.taps, case.latents, case.bins))
    mean, std = 4.0 * rng.random(case.bins), 0.5 + rng.random(case.bins)
    noise_only = np.arange(case.batch) < round(case.batch * case.noise_only)
    foreground = np.arange(case.latents) >= round(case.latents * case.share)
    if case.kind == "signed":
        x = 5.0 * rng.standard_normal(shape)
    if case.kind in ("small std", "large std", "uneven std"):
        low, high = {"small std": (-3, -2), "large std": (2, 3), "uneven std": (-3, 3)}[case.kind]
        std = 10.0 ** rng.uniform(low, high, case.bins)
        std[0], std[-1] = 10.0**low, 10.0**high
    if case.kind == "soft":
        noise_only, foreground = rng.random(case.batch), rng.random(case.latents)
    if case.kind == "negative":
        w_enc = -np.abs(w_enc)
    if case.kind == "ties":  # few small integers: sums are exact, and many are equal
        x, w_enc = rng.integers(0, 2, x.shape), rng.integers(-1, 2, w_enc.shape)
    if case.kind == "nan":
        x[0, case.frames // 2, 0] = np.nan
    if case.kind == "nan filters":
        # In w_enc at the tap that is inside the recording at every position of the filter.
        w_enc[(case.taps - 1) // 2, -1, 1] = w_dec[-1, 1, 0] = np.nan
    if case.kind == "infinite":
        x[0, case.frames // 3, 0], x[-1, -2, -1] = np.inf, -np.inf
    if case.kind == "graded":
        x = graded(x, dtype)
    return SimpleNamespace(
        x=tensor(x * scale_of(case.kind, dtype)),
        w_enc=tensor(w_enc),
        w_dec=tensor(w_dec),
        mean=tensor(mean) if case.normalised else None,
        std=tensor(std) if case.normalised else None,
        noise_only=tensor(noise_only),
        foreground=tensor(foreground),
        grad_values=above(case.batch, windows, case.latents),
        grad_reconstruction=above(*shape),
        target=tensor(scale_of(case.kind, dtype) * rng.random(shape)),
        penalty=case.penalty,
    )
