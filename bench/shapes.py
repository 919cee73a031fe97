"""The shapes that ops are timed at, their inputs, and the work that each pass cannot avoid."""

from types import SimpleNamespace

import torch

from .timing import Work

# B, N, H, K, M, P: the paper's configuration; one long recording; the setting that issue C found to denoise best; wide.
SHAPES = [
    {"B": 16, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16},
    {"B": 1, "N": 65536, "H": 32, "K": 32, "M": 9, "P": 16},
    {"B": 16, "N": 320, "H": 64, "K": 32, "M": 9, "P": 4},
    {"B": 16, "N": 512, "H": 128, "K": 128, "M": 9, "P": 16},
]
ON_GPU = [{"B": 4096, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16}]
SMOKE = {"B": 2, "N": 40, "H": 5, "K": 4, "M": 3, "P": 8}


def inputs(shape: dict[str, int], device: str) -> SimpleNamespace:
    """Random tensors for every argument of every op."""
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
        noise_only=(torch.arange(b, device=device) < max(1, round(b / 4))).float(),  # without any, no penalty
        foreground=(torch.arange(k, device=device) >= k // 4).float(),
        grad_r=draw(b, n, h),
        grad_values=draw(b, -(-n // shape["P"]), k),
    )


def latents(shape: dict[str, int]) -> int:
    """How many pooled latents there are."""
    return shape["B"] * -(-shape["N"] // shape["P"]) * shape["K"]


def run_products(frames: int, taps: int) -> int:
    """How many (frame, tap) pairs of a filter over so many frames lie inside the recording: zeros need no product."""
    before = taps - 1 - (taps - 1) // 2
    reached = range(-before, taps - before)
    return sum(max(0, frames - abs(offset)) for offset in reached)


def dense(shape: dict[str, int]) -> Work:
    """encode: every frame under every filter; x and filters are read, values and positions are written."""
    b, n, h, k, m, _ = shape.values()
    return Work(2.0 * b * run_products(n, m) * h * k, 4.0 * (b * n * h + m * h * k + 2 * latents(shape)))


def sparse_flop(shape: dict[str, int], passes: int, live: int | None = None) -> float:
    """`passes` products of each pooled latent, or of the `live` ones that are not 0, with its run of M*H."""
    return 2.0 * passes * (latents(shape) if live is None else live) * shape["M"] * shape["H"]
