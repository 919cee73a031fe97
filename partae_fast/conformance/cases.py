"""Shapes and kinds of input that break kernels, tolerances, and how an error is measured."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Relative root-mean-square error against the float64 reference, by arithmetic. "tf32" is float32 storage with
# torch.backends.cuda.matmul.allow_tf32 set.
TOLERANCES = {"float64": 1e-12, "float32": 1e-5, "tf32": 1e-3, "float16": 2e-3, "bfloat16": 2e-2}
WRONG = math.inf  # the error of a result that no tolerance covers: not finite, not the same bits twice, out of place


@dataclass(frozen=True)
class Case:
    """One input: its shapes, and `kind`, which is what is special about the numbers."""

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
    targets: bool = False  # of their own, for some recordings, in whole steps
    leak: float = 0.0
    rectified_output: bool = False  # in whole steps


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
    Case("leaky rectifier", 2, 26, 5, 4, 3, 4, leak=1 / 3),
    Case("leaky, nothing positive", 2, 20, 4, 3, 3, 4, kind="negative", normalised=False, leak=0.25),
    Case("leaky, exact ties", 2, 23, 3, 4, 3, 4, kind="ties", normalised=False, leak=0.5),
    Case("rectified output", 2, 27, 5, 4, 3, 4, rectified_output=True),
]

# Around the sizes that kernels cut their work by, and the paper's configuration.
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
    Case("leaky, rectified, corrupted", 2, 900, 33, 20, 5, 6, corruption=1, leak=1 / 3, rectified_output=True),
]


def tensors(case: Case, dtype: torch.dtype, device: torch.device) -> SimpleNamespace:
    """Inputs of every pass for a case, the same on each call. Gradients that come from above are random."""
    rng = np.random.default_rng(sum(case.name.encode()))
    windows = -(-case.frames // case.pool)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.tensor(array).to(dtype).to(device)

    x = rng.random((case.batch, case.frames, case.bins))
    w_enc = rng.standard_normal((case.taps, case.bins, case.latents)) / math.sqrt(case.taps * case.bins)
    w_dec = rng.standard_normal((case.taps, case.latents, case.bins))
    if case.kind == "negative":
        w_enc = -np.abs(w_enc)
    if case.kind == "ties":  # few small integers: sums are exact and equal ones abound
        x, w_enc = rng.integers(0, 2, x.shape), rng.integers(-1, 2, w_enc.shape)
    if case.kind == "nan":
        x[0, case.frames // 2, 0] = np.nan
    items = SimpleNamespace(
        x=tensor(x),
        w_enc=tensor(w_enc),
        w_dec=tensor(w_dec),
        mean=tensor(rng.random(case.bins)) if case.normalised else None,
        std=tensor(0.5 + rng.random(case.bins)) if case.normalised else None,
        noise_only=tensor(np.arange(case.batch) < round(case.batch * case.noise_only)),
        foreground=tensor(np.arange(case.latents) >= round(case.latents * case.share)),
        grad_values=tensor(rng.standard_normal((case.batch, windows, case.latents))),
        grad_reconstruction=tensor(rng.standard_normal(x.shape)),
        target=tensor(rng.random(x.shape)),
        penalty=0.75,
    )
    if case.kind == "not contiguous":
        for name in ("x", "w_enc", "w_dec", "grad_values", "grad_reconstruction", "target"):
            setattr(items, name, strided(getattr(items, name)))
    return items


def strided(tensor: Tensor) -> Tensor:
    """The same numbers at every second place of a longer, transposed storage."""
    wide = tensor.new_full((*tensor.shape[::-1], 2), math.nan)
    view = wide[..., 0].permute(*range(tensor.dim())[::-1])
    view.copy_(tensor)
    return view


def array(tensor: Tensor | None) -> Any:
    """The numbers as a NumPy array for the reference, in float64 (positions: as they are); None for None."""
    if tensor is None:
        return None
    tensor = tensor.detach().cpu()
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()


def error(result: Tensor | None, truth: Any) -> float:
    """Relative root-mean-square error; WRONG where the shape differs or a number is not finite though the truth is.

    Where the truth is NaN the result must be. A truth of zeros must be met exactly.
    """
    got, wanted = array(result), np.asarray(truth, dtype=np.float64)
    if got is None or got.shape != wanted.shape:
        return WRONG
    undefined = np.isnan(wanted)
    if not np.array_equal(np.isnan(got), undefined) or not np.isfinite(got[~undefined]).all():
        return WRONG
    difference = np.linalg.norm(got[~undefined] - wanted[~undefined])
    size = np.linalg.norm(wanted[~undefined])
    if difference == 0:
        return 0.0
    return float(difference / size) if 0 < size < WRONG else WRONG


def twice(run: Callable[[], tuple[Tensor | None, ...]]) -> tuple[Any, float]:
    """What `run` returns with its outputs filled with NaN beforehand, and WRONG if a second run gives other bits."""
    with poisoned():
        first, second = run(), run()
    same = all(
        (a is None and b is None) or (a is not None and b is not None and a.dtype == b.dtype and _bits(a) == _bits(b))
        for a, b in zip(first, second, strict=True)
    )
    return first, 0.0 if same else WRONG


def _bits(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().tobytes()


@contextlib.contextmanager
def poisoned() -> Iterator[None]:
    """Fill with NaN whatever torch allocates without a value, so that an element nobody wrote is seen."""

    def fill(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def allocated(*args, **kwargs):
            tensor = allocate(*args, **kwargs)
            if tensor.is_floating_point():
                return tensor.fill_(math.nan)
            return tensor.fill_(-(2**30)) if tensor.dtype == torch.int32 else tensor

        return allocated

    saved = torch.empty, torch.empty_like, torch.Tensor.new_empty
    torch.empty, torch.empty_like, torch.Tensor.new_empty = (fill(f) for f in saved)
    try:
        yield
    finally:
        torch.empty, torch.empty_like, torch.Tensor.new_empty = saved
