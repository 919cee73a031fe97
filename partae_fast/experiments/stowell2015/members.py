"""The models of the figure: partitioned ones for each share of foreground latents, and a denoising one beside them."""

from collections.abc import Iterable
from typing import Any

import torch

from ...models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder
from ...sampling.crops import CropSampler
from ...sweeps.grid import Member
from .data import SETTINGS, Mixture

SHARES = tuple(12.5 * eighth for eighth in range(9))  # per cent of the latents that are foreground: regularised

PARTITIONED, DENOISING = "partitioned", "denoising"


def members(mixtures: Iterable[Mixture], frames: int, seed: int, device: torch.device) -> list[Member]:
    """For each mixture nine partitioned autoencoders and one denoising autoencoder (DAE), with the preset's settings.

    Both kinds get items of songs, intrinsic and extrinsic noise. The partitioned model also gets noise-only items of
    extrinsic noise; to the DAE extrinsic noise is the corruption: it is in the input alone, not in the target.

    Args:
        frames: in a crop. seed: of filters and crops, the same for all.
        device: to train on.

    Stowell & Turner 2015, section 4.
    """
    found = []
    for mixture in mixtures:
        songs, intrinsic, extrinsic = (part.training for part in mixture.parts)
        drawn: dict[str, Any] = {"frames": frames, "batch": SETTINGS.batch, "seed": seed}
        shape = {
            "bins": songs[0].shape[1],
            "latents": SETTINGS.latents,
            "taps": SETTINGS.taps,
            "pool": SETTINGS.pool,
            "seed": seed,
        }

        sampler = CropSampler([songs, intrinsic, extrinsic], [extrinsic], noise_only=SETTINGS.noise_only, **drawn)
        for share in SHARES:
            model = ConvPartitionedAutoencoder(background=1 - share / 100, **shape)
            found.append(_member(PARTITIONED, mixture, share, model.to(device), sampler))
        sampler = CropSampler([songs, intrinsic], [], corruption=[extrinsic], noise_only=0.0, **drawn)
        found.append(_member(DENOISING, mixture, None, ConvDenoisingAutoencoder(**shape).to(device), sampler))
    return found


def _member(method: str, mixture: Mixture, share: float | None, model: torch.nn.Module, sampler: CropSampler) -> Member:
    settings = {"method": method, **mixture.about(), "share": share}
    return Member(settings, model, sampler, penalty=SETTINGS.penalty, optimizer=SETTINGS.optimizer)
