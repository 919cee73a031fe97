"""Exported programs with dynamic batch and frames run at other lengths and give the eager results."""

import pytest
import torch
from torch import nn
from torch.export import Dim, export

import partae_fast as pf

POOL = 4
BATCH, FRAMES = Dim("batch"), Dim("frames", min=POOL + 1)  # PyTorch specialises a single window
MODEL = pf.ConvPartitionedAutoencoder(bins=5, latents=3, taps=4, pool=POOL).requires_grad_(False)
SIZES = [(1, 5), (3, 8), (2, 41)]  # batch, frames


class Encode(nn.Module):
    def forward(self, x):
        return pf.encode(x, MODEL.w_enc, POOL, MODEL.mean, MODEL.std)


class Loss(nn.Module):
    def forward(self, x, noise_only):
        return MODEL.training_loss((x, noise_only), 0.75, "auto")


class Decode(nn.Module):
    def forward(self, x):
        values, positions = pf.encode(x, MODEL.w_enc, POOL)
        return pf.decode(values, positions, MODEL.w_dec, x.shape[1]).relu()


@pytest.mark.parametrize("module", [Encode(), Decode(), MODEL])
def test_any_length(module):
    program = export(module, (torch.rand(2, 21, 5),), dynamic_shapes=({0: BATCH, 1: FRAMES},)).module()
    for batch, frames in SIZES:
        x = torch.rand(batch, frames, 5)
        torch.testing.assert_close(program(x), module(x), rtol=0, atol=0)


def test_any_length_of_the_loss():
    shapes = ({0: BATCH, 1: FRAMES}, {0: BATCH})
    program = export(Loss(), (torch.rand(2, 21, 5), torch.tensor([1.0, 0.0])), dynamic_shapes=shapes).module()
    for batch, frames in SIZES:
        x, noise_only = torch.rand(batch, frames, 5), torch.ones(batch)
        assert program(x, noise_only) == Loss()(x, noise_only)
    with pytest.raises(ValueError, match="noise_only has values"):
        program(torch.rand(2, 21, 5), torch.tensor([5.0, 0.0]))
