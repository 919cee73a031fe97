"""What this machine can do, measured in the same run as the versions that are held against it."""

from collections.abc import Callable

import numpy as np
import torch

from .timing import measure


def ceilings(device: str) -> dict[str, float]:
    """flop_per_s of the best matrix product (float32; tf32_flop_per_s on a GPU too), bytes_per_s of a large copy."""
    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    out = torch.empty_like(a)
    source = torch.randn((2 << 30 if device == "cuda" else 256 << 20) // 4, device=device)
    target = torch.empty_like(source)
    calls: dict[str, Callable[[], object]] = {
        "product": lambda: torch.mm(a, b, out=out),
        "copy": lambda: target.copy_(source),
    }
    if device == "cuda":
        calls["launch"] = _launch()
        calls["graph replay of 10 launches"] = _replay()
    seconds = {name: float(np.quantile(s, 0.1)) for name, s in measure(calls, device, rounds=20).items()}
    found = {"flop_per_s": 2 * size**3 / seconds["product"], "bytes_per_s": 8 * source.numel() / seconds["copy"]}
    if device == "cuda":
        found["launch_seconds"] = seconds["launch"]
        found["graph_node_seconds"] = seconds["graph replay of 10 launches"] / 10
        before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
        tf32 = measure({"product": calls["product"]}, device, rounds=20)["product"]
        torch.backends.cuda.matmul.allow_tf32 = before
        found["tf32_flop_per_s"] = 2 * size**3 / float(np.quantile(tf32, 0.1))
    return found


def _launch() -> Callable[[], object]:
    small = torch.zeros(32, device="cuda")
    return lambda: small.add_(1)


def _replay() -> Callable[[], object]:
    small = torch.zeros(32, device="cuda")
    small.add_(1)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(10):
            small.add_(1)
    return graph.replay
