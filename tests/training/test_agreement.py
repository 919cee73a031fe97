"""Training agrees with the float64 reference, in three senses; a longer float32 run is free to part at a near-tie."""

import json

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
    ids=["denoising", "targets of their own", "rectified"],
)
def test_other_systems(backend, system):
    """By Adam, whose steps are large everywhere: AdaDelta's first ones are near what float32 weights resolve."""
    loss, update = agreement.teacher_forced(backend, 50, "adam", system)
    assert loss <= 1e-5
    assert update <= 1e-5
    assert agreement.free_running(backend, 10, system=system) <= 1e-4


@pytest.mark.slow
def test_statistically():
    """Over five seeds the mean loss of the last 100 of 1000 steps. The other rules differ in single steps alone."""
    found = agreement.late_losses("adadelta")
    truth = found.pop("reference")
    assert set(found) == {"eager", "cpu"}
    for backend, loss in found.items():
        assert abs(loss - truth) <= 0.02 * truth, backend


@pytest.mark.slow
def test_triton_through_the_interpreter(python):
    pytest.importorskip("triton")
    done = python("-m", "tests.training.agreement", "triton", "20", TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["loss"] <= 1e-5
    assert found["update"] <= 1e-5
    assert found["free"] <= 1e-4
