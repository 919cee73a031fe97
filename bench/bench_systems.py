"""Benchmark a training step of each system that is trained op by op, at the sizes of its paper; see network_step.py."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from partae_fast.bench import maps, peers
from partae_fast.bench.bench_conv2d_pool import work as conv2d_pool_work
from partae_fast.bench.bench_upsample_conv2d import work as upsample_conv2d_work
from partae_fast.bench.common import Contest
from partae_fast.bench.declaration import STEP_ROUNDS, benchmark
from partae_fast.bench.network_step import Network, contest
from partae_fast.bench.passes import BOTH, STEP
from partae_fast.bench.shapes import run_products
from partae_fast.functional import conv2d_pool
from partae_fast.models.adaptive_dae import AdaptiveDenoisingAutoencoder
from partae_fast.models.cdae import DECODER, ENCODER, ConvDAESeparator
from partae_fast.models.curro import CurroAutoencoder
from partae_fast.models.dae30 import DAE30, LAYERS, TAPS
from partae_fast.models.dense import DEEP, DenseAutoencoder
from partae_fast.models.dense_partitioned import DensePartitionedAutoencoder
from partae_fast.models.embedding import EmbeddingSeparator
from partae_fast.models.fnn import HIDDEN, FeedForwardSeparator
from partae_fast.systems.dense import SYSTEMS

Shape = dict[str, int]
ADAM = {"optimizer": "adam", "learning_rate": 1e-3}
NADAM = {"optimizer": "nadam", "learning_rate": 2e-3}
ROWS = 40  # voices, and noises, in the training of an embedding
LSTM_LAYERS = 2


def _peers(device: str) -> list[str]:
    """Return the peers of a step, without max-autotune: on a CPU it is no faster, and takes minutes to compile."""
    return [name for name in peers.names(device) if peers.MAX_AUTOTUNE not in name]


def _map_peers(device: str) -> list[str]:
    return [version for name in _peers(device) for version in (name, name + maps.CHANNELS_FIRST)]


def system(name: str, op: str, shape: Shape, smoke: Shape, **fields: Any) -> Callable[..., Callable[..., None]]:
    """Turn a function from a shape to a network into the benchmark of a system whose candidates are of `op`."""
    versions = fields.pop("peers", _peers)

    def decorate(network_of: Callable[[Shape], Network]) -> Callable[..., None]:
        @functools.wraps(network_of)
        def build(op_pass: str, shape: Shape, device: str, backends: list[str]) -> Contest:
            return contest(name, network_of(shape), device, backends, versions(device))

        common: dict[str, Any] = {"passes": (STEP,), "shapes": [shape], "smoke": smoke, "rounds": STEP_ROUNDS}
        common["ours"] = lambda device: ["auto"]  # as in training: the fastest back-end for each op
        return benchmark(op, **common, name=name, peers=versions, **fields)(build)

    return decorate


def _draw(*size: int) -> Tensor:
    """Return random magnitudes."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(sum(size))).abs()


def _dense_products(widths: Sequence[int], first: bool = True) -> float:
    """Return the operations of a step for one item in dense layers; the input of the `first` layer has no gradient."""
    return sum(2.0 * i * o * (2 if first and n == 0 else 3) for n, (i, o) in enumerate(itertools.pairwise(widths)))


def _noise_only(items: int) -> Tensor:
    return (torch.arange(items) < max(1, items // 4)).float()


@system("dense", "dense", {"B": 128, "bins": 1024, "hidden": 2000}, {"B": 4, "bins": 20, "hidden": 9})
def bench_dense_step(shape: Shape) -> Network:
    """The network with one hidden layer of Lusterman 2016, with all bins of the FFT as in the thesis's program."""
    b, bins, hidden = shape.values()

    def model() -> Any:
        return DenseAutoencoder(n_fft=bins, spectrum="two-sided", layers=str(hidden), batch_norm="none")

    batch = {"x": _draw(b, bins), "target": _draw(b, bins).flip(0)}
    return Network(model, batch, b * _dense_products((bins, hidden, bins)), **ADAM)


@system(
    "Curro",
    "dense",
    {"B": 128, "bins": 1024, "hidden": 2048, "latents": 1024, "decoder": 1024},
    {"B": 4, "bins": 20, "hidden": 8, "latents": 4, "decoder": 7},
    ops=("curro_loss",),
)
def bench_curro_step(shape: Shape) -> Network:
    """The Curro network of Lusterman 2016, with all bins of the FFT."""
    b, bins, hidden, latents, decoder = shape.values()

    def model() -> Any:
        return CurroAutoencoder("magnitude", bins, "two-sided", 0, hidden, latents, decoder)

    encoder = b * _dense_products((bins, hidden, hidden, 2 * latents))
    work = encoder + 2 * b * _dense_products((latents, decoder, decoder, bins), first=False)
    return Network(model, {"x": _draw(b, bins), "noise_only": _noise_only(b)}, work, **ADAM)


@system("dense-partitioned", "dense", {"B": 128, "bins": 513, "latents": 2000}, {"B": 4, "bins": 9, "latents": 8})
def bench_dense_partitioned_step(shape: Shape) -> Network:
    """The partitioned dense network of Lusterman 2016."""
    b, bins, latents = shape.values()

    def model() -> Any:
        return DensePartitionedAutoencoder(n_fft=2 * (bins - 1), latents=latents)

    # The gradient of batch normalisation needs that of its output.
    work = b * _dense_products((bins, latents, bins), first=False)
    return Network(model, {"x": _draw(b, bins), "noise_only": _noise_only(b)}, work, **ADAM, penalty=0.75)


@system("dense-deep", "dense", {"B": 128, "bins": 513}, {"B": 4, "bins": 9})
def bench_dense_deep_step(shape: Shape) -> Network:
    """The deep network of the program of Lusterman 2016."""
    b, bins = shape.values()
    settings = next(system.presets for system in SYSTEMS if system.name == "dense-deep")

    def model() -> Any:
        return DenseAutoencoder(n_fft=2 * (bins - 1), **settings)

    widths = (bins, *map(int, DEEP.split("-")), bins)
    batch = {"x": _draw(b, bins), "target": _draw(b, bins).flip(0)}
    # The batch normalisation of the first layer subtracts the offset of that of the input.
    unchecked = ("normalise.offset",)
    return Network(model, batch, b * _dense_products(widths, first=False), **ADAM, unchecked=unchecked)


@system("adaptive-dae", "dense", {"B": 128, "bins": 513, "hidden": 2048}, {"B": 4, "bins": 9, "hidden": 8})
def bench_adaptive_dae_step(shape: Shape) -> Network:
    """The two networks of Kim & Smaragdis 2015, with dropout."""
    b, bins, hidden = shape.values()

    def model() -> Any:
        return AdaptiveDenoisingAutoencoder(bins, hidden=hidden)

    work = 2 * b * _dense_products((bins, hidden, hidden, bins))
    batch = {"mixture": _draw(b, bins), "clean": 0.5 * _draw(b, bins).flip(0)}
    options = {"momentum": 0.95, "clip": 1.0}
    return Network(model, batch, work, "clipped_sgd", 1e-6, options)


@system(
    "cdae",
    "conv2d_pool",
    {"B": 100, "N": 15, "H": 1025},
    {"B": 2, "N": 3, "H": 25},
    quick={"B": 10, "N": 15, "H": 1025},
    ops=("upsample_conv2d",),
    peers=_map_peers,
)
def bench_cdae_step(shape: Shape) -> Network:
    """The network of one source of Grais & Plumbley 2017."""
    b, n, h = shape.values()

    def model() -> Any:
        return ConvDAESeparator(["voice"], bins=h, frames=n)

    mixture = _draw(b, n, h)
    batch = {"mixture": mixture, "target": 0.5 * mixture[:, None].flip(0)}
    return Network(model, batch, _cdae_work(model(), mixture), **NADAM)


def _cdae_work(model: Any, x: Tensor) -> float:
    """Return the operations of the convolutions, backward those of outputs that are a maximum above 0."""
    work, u, network = 0.0, x[..., None], model.networks[0]
    layers = list(zip(network.weights, network.biases, strict=True))
    for (weight, bias), (filters, (p, q)) in zip(layers, ENCODER, strict=False):
        sizes = dict(zip("BNHC", u.shape, strict=True)) | {"D": filters, "p": p, "q": q}
        with torch.no_grad():
            u, positions = conv2d_pool(u, weight, bias, (p, q))
        work += conv2d_pool_work(sizes, u, positions)[BOTH].flop
    _, n, h, c = u.shape
    for filters, (p, q) in DECODER:
        sizes = {"B": len(x), "N": n, "H": h, "C": c, "D": filters, "p": p, "q": q}
        work, n, h, c = work + upsample_conv2d_work(sizes)[BOTH].flop, n * p, h * q, filters
    return work


@system("fnn", "dense", {"B": 100, "bins": 1025}, {"B": 3, "bins": 9})
def bench_fnn_step(shape: Shape) -> Network:
    """The feed-forward network of one source of Grais & Plumbley 2017."""
    b, bins = shape.values()

    def model() -> Any:
        return FeedForwardSeparator(["voice"], bins)

    mixture = _draw(b, 1, bins)
    batch = {"mixture": mixture, "target": 0.5 * mixture[:, None].flip(0)}
    return Network(model, batch, b * _dense_products([bins] * (HIDDEN + 2)), **NADAM)


@system(
    "sce-mi",
    "contrastive",
    {"B": 32, "T": 79, "F": 257, "hidden": 250, "D": 10},
    {"B": 2, "T": 5, "F": 9, "hidden": 4, "D": 3},
    quick={"B": 4, "T": 79, "F": 257, "hidden": 250, "D": 10},
    ops=("ratio_mask",),
)
def bench_sce_mi_step(shape: Shape) -> Network:
    """The embedding of Hetherly et al. 2018 with two LSTM layers, trained on mixtures of 2 s."""
    b, t, f, hidden, d = shape.values()

    def model() -> Any:
        return EmbeddingSeparator("sce-mi", f, ROWS, ROWS, LSTM_LAYERS, hidden, d)

    parts = _draw(b, t, f, 2)
    sources = torch.tensor([0, ROWS]) + (7 * torch.arange(b)[:, None] % ROWS)
    gates = sum(2.0 * 4 * hidden * (3 * (i + hidden) - (i if n == 0 else 0)) for n, i in enumerate((f, 2 * hidden)))
    heads = 3 * 2.0 * (2 * hidden * f * d + f * d * 2)
    batch = {"mixture": parts.sum(-1), "parts": parts, "sources": sources}
    return Network(model, batch, b * t * (2 * gates + heads), "adam", 1e-3)


@system(
    "dae-30",
    "",
    {"B": 4, "T": 79, "F": 257, "filters": 16},
    {"B": 2, "T": 5, "F": 9, "filters": 2},
    quick={"B": 1, "T": 79, "F": 257, "filters": 16},
)
def bench_dae_30_step(shape: Shape) -> Network:
    """DAE-30 of Hetherly et al. 2018 with 16 filters; its layers are PyTorch's."""
    b, t, f, filters = shape.values()

    def model() -> Any:
        return DAE30(filters, f)

    parts = _draw(b, t, f, 2)
    channels = [2.0, *[3.0 * filters] * (2 * LAYERS - 2), 3.0]  # one and many inputs, times products; many outputs
    products = 2.0 * filters * run_products(t, TAPS) * run_products(f, TAPS) * sum(channels)
    return Network(model, {"mixture": parts.sum(-1), "parts": parts}, b * products, "nadam", 5e-5)
