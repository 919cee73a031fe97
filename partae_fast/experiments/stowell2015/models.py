"""The models of figure 6: partitioned autoencoders for each share of foreground latents, and denoising autoencoders."""

from collections.abc import Iterable
from typing import Any

import torch

from ...models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder
from ...sampling.crops import CropSampler
from ...sweeps.grid import Member
from .data import SETTINGS, Mixture

SHARES = tuple(12.5 * eighth for eighth in range(9))  # per cent of the latents that are foreground, and so regularised

PARTITIONED, DENOISING = "partitioned", "denoising"


def sweep_members(mixtures: Iterable[Mixture], frames: int, seed: int, device: torch.device) -> list[Member]:
    """Make nine partitioned autoencoders and one denoising autoencoder (DAE) for each mixture, with preset settings.

    All models get items that mix songs, intrinsic and extrinsic noise. The partitioned models also get noise-only items
    of extrinsic noise. For the DAE, extrinsic noise is the corruption: the input contains it and the target does not.

    Args:
        mixtures: see `data.mixtures`.
        frames: per crop.
        seed: of filters and crops, the same for all models.
        device: to train on.

    Stowell & Turner 2015, section 4.
    """
    members = []
    for mixture in mixtures:
        songs, intrinsic, extrinsic = (split.training for split in mixture.splits)
        sampling: dict[str, Any] = {"frames": frames, "batch": SETTINGS.batch, "seed": seed}
        shape = {
            "bins": songs[0].shape[1],
            "latents": SETTINGS.latents,
            "taps": SETTINGS.taps,
            "pool": SETTINGS.pool,
            "seed": seed,
        }
        sampler = CropSampler([songs, intrinsic, extrinsic], [extrinsic], noise_only=SETTINGS.noise_only, **sampling)
        for share in SHARES:
            model = ConvPartitionedAutoencoder(background=1 - share / 100, **shape)
            members.append(_member(PARTITIONED, mixture, share, model.to(device), sampler))
        sampler = CropSampler([songs, intrinsic], [], corruption=[extrinsic], noise_only=0.0, **sampling)
        members.append(_member(DENOISING, mixture, None, ConvDenoisingAutoencoder(**shape).to(device), sampler))
    return members


def _member(method: str, mixture: Mixture, share: float | None, model: torch.nn.Module, sampler: CropSampler) -> Member:
    settings = {"method": method, **mixture.columns(), "share": share}
    return Member(settings, model, sampler, penalty=SETTINGS.penalty, optimizer=SETTINGS.optimizer)
