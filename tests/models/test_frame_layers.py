"""Batch normalisation and the checks of arguments; tests/models/test_dense_models.py compares the layers."""

import math

import pytest
import torch

from partae_fast.errors import UserError
from partae_fast.models.frame_layers import BatchNorm, check_choice, check_number, check_widths


def test_training_normalises_by_the_batch_and_updates_running_statistics():
    layer, x = BatchNorm(3, "running"), 2 * torch.rand(50, 3) + 5
    y = layer(x, training=True)
    torch.testing.assert_close(y.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(layer.mean, 0.1 * x.mean(0))
    torch.testing.assert_close(layer.variance, 0.9 + 0.1 * x.var(0))


@pytest.mark.parametrize(
    ("statistics", "frames", "by_batch"), [("running", 9, False), ("batch", 9, True), ("batch", 1, False)]
)
def test_inference_normalises_by_the_chosen_statistics(statistics, frames, by_batch):
    layer, x = BatchNorm(3, statistics), torch.rand(frames, 3)
    layer.mean.fill_(0.5)
    layer.variance.fill_(4.0)
    mean, variance = (x.mean(0), x.var(0, correction=0)) if by_batch else (layer.mean, layer.variance)
    torch.testing.assert_close(layer(x, training=False), (x - mean) / (variance + 1e-4).sqrt())
    assert layer.mean.tolist() == [0.5] * 3


def test_numbers_out_of_range_are_rejected():
    check_number("alpha", 0.5, 0.0, 1.0)
    for value, limits, message in (
        (2.0, (0.0, 1.0), "alpha is 2.0; it must be at least 0 and at most 1"),
        (-1.0, (0.0,), "alpha is -1.0; it must be at least 0"),
        (math.nan, (), "alpha is nan; it must be a finite number"),
        ("1", (), "alpha is '1'; it must be a finite number"),
    ):
        with pytest.raises(UserError, match=message):
            check_number("alpha", value, *limits)


def test_widths_and_choices_are_checked():
    check_widths(hidden=1)
    check_choice("part", "signal", ("signal", "noise"))
    for width in (0, 2**16 + 1, 1.5, True):
        with pytest.raises(UserError, match=r"hidden is .*; it must be a whole number, from 1 to 65536"):
            check_widths(hidden=width)
    with pytest.raises(UserError, match="part is 'both'; choose one of signal, noise"):
        check_choice("part", "both", ("signal", "noise"))
