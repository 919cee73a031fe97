"""The shapes that ops are timed with, their inputs, and the minimum work of each pass."""

from types import SimpleNamespace

import torch

from .timing import Work

# B, N, H, K, M, P: the paper's configuration; one long recording; the setting that denoised best; many bins and
# latents.
SHAPES = [
    {"B": 16, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16},
    {"B": 1, "N": 65536, "H": 32, "K": 32, "M": 9, "P": 16},
    {"B": 16, "N": 320, "H": 64, "K": 32, "M": 9, "P": 4},
    {"B": 16, "N": 512, "H": 128, "K": 128, "M": 9, "P": 16},
]
ON_GPU = [{"B": 4096, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16}]
SMOKE = {"B": 2, "N": 40, "H": 5, "K": 4, "M": 3, "P": 8}


def inputs(shape: dict[str, int], device: str) -> SimpleNamespace:
    """Return random tensors for all arguments of the ops."""
    b, n, h, k, m, _ = shape.values()
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator).to(device)

    x = draw(b, n, h).abs()
    return SimpleNamespace(
        x=x,
        mean=x.mean((0, 1)),
        std=x.std((0, 1)),
        w_enc=draw(m, h, k) / (m * h) ** 0.5,
        w_dec=draw(m, k, h) / (m * k) ** 0.5,
        noise_only=(torch.arange(b, device=device) < max(1, round(b / 4))).float(),  # at least one: else no penalty
        foreground=(torch.arange(k, device=device) >= k // 4).float(),
        grad_r=draw(b, n, h),
        grad_values=draw(b, -(-n // shape["P"]), k),
    )


def latents(shape: dict[str, int]) -> int:
    """Return the number of pooled values in a batch."""
    return shape["B"] * -(-shape["N"] // shape["P"]) * shape["K"]


def run_products(frames: int, taps: int) -> int:
    """Return the number of (frame, tap) pairs of a filter inside the recording; zeros need no product."""
    before = taps - 1 - (taps - 1) // 2
    offsets = range(-before, taps - before)
    return sum(max(0, frames - abs(offset)) for offset in offsets)


def dense(shape: dict[str, int]) -> Work:
    """Return the work of encode: it multiplies all frames by all filters and writes values and positions."""
    b, n, h, k, m, _ = shape.values()
    return Work(2.0 * b * run_products(n, m) * h * k, 4.0 * (b * n * h + m * h * k + 2 * latents(shape)))


def sparse_flop(shape: dict[str, int], passes: int, active: int | None = None) -> float:
    """Return the operations of `passes` products of each pooled value with a run of M*H numbers.

    With `active`, only that many values are above 0, and the others need no product.
    """
    return 2.0 * passes * (latents(shape) if active is None else active) * shape["M"] * shape["H"]
