"""The learning rate of each step, and a resumed run has the bits of one without a stop."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.sampling.batches import BatchStream
from partae_fast.training.checkpoint import Checkpoint
from partae_fast.training.schedules import Plateau, Schedule, Stairs


def test_the_rate_of_a_plain_schedule_is_constant():
    assert Schedule().rate_at(10**6, 0.3) == 0.3


def test_stairs_fall_to_a_tenth_and_then_stay():
    stairs = Stairs(25)
    lengths = {step: stairs.until_next(step) for step in (0, 1, 3, 20)}
    assert lengths == {0: 3, 1: 2, 3: 2, 20: 3}
    assert [stairs.rate_at(step, 2.0) for step in (0, 2, 3, 22, 23, 1000)] == pytest.approx([2, 2, 1.8, 0.4, 0.2, 0.2])
    assert stairs.until_next(23) > 10**9
    assert Stairs(0).rate_at(5, 2.0) == 2.0
    with pytest.raises(pf.UserError, match="steps is -1; it must be 0 or more"):
        Stairs(-1)


def measured(losses, **settings):
    """Return a plateau with epochs of 10 steps that has measured these losses, and whether training ends."""
    remaining = iter(losses)
    plateau = Plateau(10, lambda model: next(remaining), **settings)
    return plateau, plateau.update(10 * len(losses), None)


def rates(losses, **settings):
    """Return the factor of the learning rate in each epoch and in the next one."""
    plateau, _ = measured(losses, **settings)
    return [plateau.rate_at(10 * epoch, 1.0) for epoch in range(len(losses) + 1)]


def test_the_rate_falls_after_patience_epochs_without_a_lower_loss():
    assert rates([5.0, 4.0, 4.0, 4.5, 4.2, 4.1]) == [1, 1, 1, 1, 1, 0.1, 0.1]


def test_counting_starts_again_after_a_fall_and_after_a_lower_loss():
    assert rates([3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0], divisor=2.0) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert rates([3.0, 3.0, 3.0, 2.9, 3.0, 3.0, 3.0], patience=3)[-2:] == [1, 0.1]


def test_training_ends_after_stop_epochs_without_a_lower_loss():
    assert not measured([3.0, 3.0, 3.0], stop=3)[1]
    assert measured([3.0, 3.0, 3.0, 3.0], stop=3)[1]
    assert not measured([3.0] * 30)[1]


def test_nan_is_not_a_lower_loss():
    assert rates([3.0, np.nan, np.nan, np.nan])[-1] == 0.1


def test_groups_have_rates_of_their_own():
    epochs = iter([[3.0, 3.0], [3.0, 2.0], [3.0, 1.0], [3.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    plateau = Plateau(10, lambda model: next(epochs), patience=2, stop=3, groups=("a.", "b."))
    assert not plateau.update(50, None)  # the second group has not fallen for two epochs
    rates = [
        [plateau.rate_at(step, 1.0) * factor for factor in plateau.factors_at(step).values()]
        for step in range(9, 60, 10)
    ]
    assert rates == [pytest.approx(pair) for pair in ([1, 1], [1, 1], [1, 1], [0.1, 1], [0.1, 1], [0.1, 0.1])]
    assert not plateau.update(60, None)  # the first group fell in the fifth epoch
    assert list(plateau.losses[-2:]) == [2.0, 1.0]


def test_each_group_is_trained_at_its_own_rate():
    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
            torch.nn.init.zeros_(self.a.weight), torch.nn.init.zeros_(self.b.weight)

        def training_loss(self, batch, penalty, backend):
            return -self.a.weight.sum() - self.b.weight.sum()

    class Batches(BatchStream):
        batch = 1

        def batch_at(self, step, items=None):
            return (torch.zeros(1),)

        def to(self, device):
            return self

        def fingerprint(self):
            return {}

    model = Pair()
    epochs = iter([[1.0, 3.0], [1.0, 2.0], [1.0, 1.0]])
    plateau = Plateau(1, lambda model: next(epochs), patience=1, groups=("a.", "b."))
    trainer = pf.Trainer(
        model, Batches(), optimizer="sgd", learning_rate=1.0, options={"momentum": 0.0}, schedule=plateau
    )
    trainer.run(3)
    # The loss of a stays, so its rate falls after the second epoch; that of b falls in each.
    assert model.a.weight.item() == pytest.approx(2.1) and model.b.weight.item() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, "patience is 0"),
        ({"divisor": 1.0}, "divisor is 1; it must be above 1"),
        ({"stop": -1}, "stop"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(pf.UserError, match=message):
        measured([1.0], **settings)


def trainer(tmp_path, name, stop=0, resume=False):
    """Return a trainer with epochs of 3 steps whose held-out loss never falls."""
    group = [np.random.default_rng(0).random((60, 8))]
    sampler = pf.CropSampler(signal=[group], noise=[group], frames=16, batch=2)
    model = pf.ConvPartitionedAutoencoder(bins=8, latents=4, taps=3, pool=4)
    plateau = Plateau(3, lambda model: 1.0, patience=2, stop=stop)
    checkpoint = Checkpoint(tmp_path / name, resume=resume)
    return pf.Trainer(model, sampler, optimizer="adam", backend="eager", checkpoint=checkpoint, schedule=plateau)


def test_groups_are_trained_op_by_op_because_a_launch_has_one_rate(tmp_path):
    plain, grouped = trainer(tmp_path, "plain"), trainer(tmp_path, "grouped")
    grouped.schedule = Plateau(3, lambda model: [1.0, 1.0], patience=1, groups=("w_enc", "w_dec"))
    assert plain.as_run() is not None and grouped.as_run() is None


def test_a_resumed_run_has_the_same_bits(tmp_path):
    whole = trainer(tmp_path, "whole")
    whole.run(14)
    first = trainer(tmp_path, "parts")
    first.run(7)
    second = trainer(tmp_path, "parts", resume=True)
    assert list(second.schedule.losses) == [1.0, 1.0]
    second.run(7)
    assert second.history.loss == whole.history.loss
    assert torch.equal(second.model.w_enc, whole.model.w_enc)
    assert [whole.learning_rate_at(step) for step in (0, 8, 9, 13)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_training_that_ended_early_does_not_continue(tmp_path):
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
