"""The learning rate falls where what was held out is no better, and a run that stopped goes on as if it had not."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.training.plateau import Plateau


def heard(losses, **settings):
    """A plateau of epochs of 10 steps that has measured these losses."""
    remaining = iter(losses)
    plateau = Plateau(10, lambda model: next(remaining), **settings)
    return plateau, plateau.listen(10 * len(losses), None)


def rates(losses, **settings):
    """The factor of the learning rate in each epoch and in the one after them."""
    plateau, _ = heard(losses, **settings)
    return [plateau.rate_at(10 * epoch) for epoch in range(len(losses) + 1)]


def test_the_rate_falls_after_so_many_epochs_without_a_lower_loss():
    assert rates([5.0, 4.0, 4.0, 4.5, 4.2, 4.1]) == [1, 1, 1, 1, 1, 0.1, 0.1]


def test_epochs_are_counted_anew_after_a_fall_and_after_a_lower_loss():
    assert rates([3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0], divisor=2.0) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert rates([3.0, 3.0, 3.0, 2.9, 3.0, 3.0, 3.0], patience=3)[-2:] == [1, 0.1]


def test_training_ends_after_so_many_epochs_without_a_lower_loss():
    assert not heard([3.0, 3.0, 3.0], stop=3)[1]
    assert heard([3.0, 3.0, 3.0, 3.0], stop=3)[1]
    assert not heard([3.0] * 30)[1]


def test_a_loss_that_is_no_number_is_not_lower():
    assert rates([3.0, np.nan, np.nan, np.nan])[-1] == 0.1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patience": 0}, "patience is 0"),
        ({"divisor": 1.0}, "divisor is 1; it must be above 1"),
        ({"stop": -1}, "stop"),
    ],
)
def test_settings_out_of_range_are_told(settings, said):
    with pytest.raises(pf.UserError, match=said):
        heard([1.0], **settings)


def trainer(tmp_path, name, stop=0, **more):
    """An epoch is 3 steps; what is measured never gets better than it was first."""
    group = [np.random.default_rng(0).random((60, 8))]
    sampler = pf.CropSampler(signal=[group], noise=[group], frames=16, batch=2)
    model = pf.ConvPartitionedAutoencoder(bins=8, latents=4, taps=3, pool=4)
    plateau = Plateau(3, lambda model: 1.0, patience=2, stop=stop)
    common = {"optimizer": "adam", "backend": "eager", "checkpoint": tmp_path / name, "plateau": plateau}
    return pf.Trainer(model, sampler, **common, **more)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    whole = trainer(tmp_path, "whole")
    whole.run(14)
    first = trainer(tmp_path, "parts")
    first.run(7)
    second = trainer(tmp_path, "parts", resume=True)
    assert second.plateau and list(second.plateau.losses) == [1.0, 1.0]
    second.run(7)
    assert second.history.loss == whole.history.loss
    assert torch.equal(second.model.w_enc, whole.model.w_enc)
    assert [whole.learning_rate_at(step) for step in (0, 8, 9, 13)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_training_ends_early_and_stays_ended(tmp_path):
    done = trainer(tmp_path, "early", stop=2)
    done.run(100)
    assert done.step == 9
    again = trainer(tmp_path, "early", stop=2, resume=True)
    again.run(100 - again.step)
    assert again.step == 9


def test_a_checkpoint_of_another_plateau_is_refused(tmp_path):
    trainer(tmp_path, "other").run(3)
    with pytest.raises(pf.UserError, match=r"plateau\.stop was 0, is 2"):
        trainer(tmp_path, "other", stop=2, resume=True)
