"""Tests that training agrees with the float64 reference.

Single steps are compared from the reference's state, and short runs from the initial weights. A longer float32 run may
differ after a near-tie of two activations, so that only its mean loss is compared.
"""

import pytest

from . import agreement

on_cpu = pytest.mark.parametrize("backend", ["eager", "cpu"])
optimizers = pytest.mark.parametrize("optimizer", ["adadelta", "adam", "sgd", "nesterov"])


@on_cpu
@optimizers
def test_teacher_forced(backend, optimizer):
    loss, update = agreement.teacher_forced(backend, 200, optimizer)
    assert loss <= 1e-5
    assert update <= 1e-5


@on_cpu
@optimizers
def test_free_running(backend, optimizer):
    assert agreement.free_running(backend, 10, optimizer) <= 1e-4


@on_cpu
@pytest.mark.parametrize(
    "system",
    [agreement.DENOISING, agreement.TARGETED, agreement.RECTIFIED],
    ids=["denoising", "separate targets", "rectified"],
)
def test_other_systems(backend, system):
    """Adam is used because its steps are large; the first steps of AdaDelta are close to the rounding of float32."""
    loss, update = agreement.teacher_forced(backend, 50, "adam", system)
    assert loss <= 1e-5
    assert update <= 1e-5
    assert agreement.free_running(backend, 10, system=system) <= 1e-4


@pytest.mark.slow
def test_late_losses_agree_in_the_mean():
    """The mean loss of the last 100 of 1000 steps is compared over five seeds.

    AdaDelta is enough, because the other optimizers differ from it within single steps only.
    """
    mean_losses = agreement.late_losses("adadelta")
    truth = mean_losses.pop("reference")
    assert set(mean_losses) == {"eager", "cpu"}
    for backend, loss in mean_losses.items():
        assert abs(loss - truth) <= 0.02 * truth, backend
