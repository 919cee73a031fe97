"""The models of figure 6: partitioned autoencoders for each share of foreground latents, and denoising autoencoders."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ...errors import UserError
from ...models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder
from ...sampling.crops import CropSampler
from ...sweeps.grid import Member
from .data import SETTINGS, Mixture

SHARES = tuple(12.5 * eighth for eighth in range(9))  # per cent of the latents that are foreground, and so regularised

PARTITIONED, DENOISING = "partitioned", "denoising"


OPTIMIZERS = ("adadelta", "adam")  # the paper's, with which DAEs diverge at the paper's ratios, and one for comparison
PENALTIES = (0.75, 12.0, 48.0, 300.0)  # of the paper, and 16, 64 and 400 times as strong
REDUCTIONS = SUM, MEAN = ("sum", "mean")


def loss_penalty(penalty: float, reduction: str, frames: int, bins: int) -> float:
    """Return the penalty for a loss that sums the squares of errors and of latents, as `pf.partitioned_loss` does.

    Args:
        penalty: as it is set.
        reduction: "sum" if the loss sums both squares, as printed in the paper, or "mean" if both are means: the
            squared error over frames and bins, the squared latents over pools and latents. A penalty on means is 16
            times as strong at the paper's sizes, because there are 16 times as many errors as latents.
        frames, bins: of a crop.

    Raises UserError for an unknown reduction.

    >>> loss_penalty(0.75, "mean", 512, 32)
    12.0
    """
    if reduction not in REDUCTIONS:
        raise UserError(f"penalty_reduction is {reduction!r}; choose {' or '.join(REDUCTIONS)}")
    values = -(-frames // SETTINGS.pool) * SETTINGS.latents
    return penalty * (frames * bins / values if reduction == MEAN else 1.0)


def sweep_members(
    mixtures: Iterable[Mixture],
    frames: int,
    seeds: Sequence[int],
    device: torch.device,
    penalties: Sequence[float] = (SETTINGS.penalty,),
    optimizers: Sequence[str] = OPTIMIZERS[:1],
    reduction: str = SUM,
) -> list[Member]:
    """Make nine partitioned autoencoders for each mixture, penalty, optimizer and seed, and a DAE without the penalty.

    All models get items that mix songs, intrinsic and extrinsic noise. The partitioned models also get noise-only items
    of extrinsic noise. For the DAE, extrinsic noise is the corruption: the input contains it and the target does not.
    Other settings are those of the preset.

    Args:
        mixtures: see `data.mixtures`.
        frames: per crop.
        seeds: of filters and crops, the same for all models.
        device: to train on.
        penalties: of the partitioned models.
        optimizers: of all models.
        reduction: see `loss_penalty`.

    Stowell & Turner 2015, section 4.
    """
    members = []
    for mixture in mixtures:
        for seed in seeds:
            partitioned, denoising = _samplers(mixture, frames, seed)
            shape: dict[str, Any] = {
                "bins": partitioned.bins,
                "latents": SETTINGS.latents,
                "taps": SETTINGS.taps,
                "pool": SETTINGS.pool,
                "seed": seed,
            }
            for optimizer in optimizers:
                key = {**mixture.columns(), "optimizer": optimizer, "seed": seed}
                for penalty in penalties:
                    weight = loss_penalty(penalty, reduction, frames, partitioned.bins)
                    for share in SHARES:
                        model = ConvPartitionedAutoencoder(background=1 - share / 100, **shape).to(device)
                        settings = {"method": PARTITIONED, **key, "share": share, "penalty": float(penalty)}
                        members.append(Member(settings, model, partitioned, penalty=weight, optimizer=optimizer))
                settings = {"method": DENOISING, **key, "share": None, "penalty": None}
                model = ConvDenoisingAutoencoder(**shape).to(device)
                members.append(Member(settings, model, denoising, penalty=0.0, optimizer=optimizer))
    return members


def _samplers(mixture: Mixture, frames: int, seed: int) -> tuple[CropSampler, CropSampler]:
    """Return the samplers of the partitioned models and of the DAE."""
    songs, intrinsic, extrinsic = (split.training for split in mixture.splits)
    sampling: dict[str, Any] = {"frames": frames, "batch": SETTINGS.batch, "seed": seed}
    return (
        CropSampler([songs, intrinsic, extrinsic], [extrinsic], noise_only=SETTINGS.noise_only, **sampling),
        CropSampler([songs, intrinsic], [], corruption=[extrinsic], noise_only=0.0, **sampling),
    )
