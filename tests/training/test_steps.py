"""Tests of train_steps: the arguments that it rejects, and the back-end that it chooses."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from partae_fast.conformance.cases import TINY
from partae_fast.conformance.train_steps import make_run
from partae_fast.kernels import BackendUnavailable, registry
from partae_fast.training import steps
from partae_fast.training.steps import train_steps

CASE = TINY[2]


@pytest.fixture
def run():
    run = make_run(CASE, torch.float32, torch.device("cpu")).copy()
    return replace(run, crops=replace(run.crops, source=run.crops.source.clone()))


def same_weights(run, before):
    return torch.equal(run.w_enc, before.w_enc) and torch.equal(run.w_dec, before.w_dec)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_source_is_rejected_before_the_launch(run, value):
    train_steps([run], 0, 1)
    before = run.copy()
    run.crops.source[3, 1] = value  # after the source was checked once
    with pytest.raises(ValueError, match="a source has NaN or infinite magnitudes; repair or leave out"):
        train_steps([run], 1, 1)
    assert same_weights(run, before)


def test_an_unchanged_source_is_checked_once(run, monkeypatch):
    checked, isfinite = [], torch.isfinite
    monkeypatch.setattr(torch, "isfinite", lambda t: checked.append(t) or isfinite(t))
    for step in range(3):
        train_steps([run], step, 1)
    assert len(checked) == 1


def test_a_non_finite_target_is_rejected(run):
    run = with_crops(run, target=run.crops.source.clone())
    train_steps([run], 0, 1)
    run.crops.target[3, 1] = float("nan")
    with pytest.raises(ValueError, match="a target has NaN or infinite magnitudes; repair or leave out"):
        train_steps([run], 1, 1)


def with_crops(run, **crops):
    """Return the run with other fields of its crops."""
    return replace(run, crops=replace(run.crops, **crops))


REJECTED = [
    (lambda run: [], "runs is empty; give at least one run"),
    (lambda run: [run, with_crops(run, frames=30)], "runs differ: one has B 2 N 30 .*, another B 2 N 37 .* own"),
    (lambda run: [run, replace(run, pool=3)], "runs differ: .*P 3.*P 5"),
    (lambda run: [run, with_crops(run, signal_groups=1)], "runs differ: .*1 of 4 groups signal.*2 of 4 groups signal"),
    (lambda run: [run, with_crops(run, corruption_groups=1)], "runs differ: .*and 0 corruption.*and 1 corruption"),
    (
        lambda run: [run, with_crops(run, target=run.crops.source)],
        "runs differ: .*no targets of their own.* targets of",
    ),
    (
        lambda run: [with_crops(run, target=run.crops.source[1:])],
        r"the target is \(\d+, 7\), torch.float32 on cpu and the source \(\d+, 7\), .*; give both the same",
    ),
    (lambda run: [with_crops(run, target=run.crops.source.double())], "the target is .*float64 on cpu and the source"),
    (lambda run: [run, replace(run, negative_slope=0.5)], "runs differ: .*negative_slope 0, .*negative_slope 0.5, "),
    (lambda run: [run, replace(run, rectified_output=True)], "runs differ: .*output as decoded.*output rectified"),
    (lambda run: [replace(run, negative_slope=1.0)], "negative_slope is 1.0; it must be from 0 up to"),
    (lambda run: [replace(run, mean=run.mean[:-1])], r"mean is \(6,\) and w_enc \(3, 7, 5\); mean must be \(7,\)"),
    (lambda run: [replace(run, w_dec=run.w_enc)], r"w_dec must be \(3, 5, 7\)"),
    (lambda run: [replace(run, options={})], "optimizer .* with \\[\\]: see kernels.train_steps.RULES"),
    (lambda run: [with_crops(run, source=run.crops.source[:, :-1])], "the source has 6 bins and w_enc 7; give both"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REJECTED)
def test_invalid_and_incompatible_runs_are_rejected(run, make, message):
    before = run.copy()
    with pytest.raises(ValueError, match=message):
        train_steps(make(run), 0, 1)
    assert same_weights(run, before)


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 0), (2**32 - 1, 2)])
def test_steps_out_of_range_are_rejected(run, first, count):
    with pytest.raises(ValueError, match=f"first {first} and steps {count}: give one step or more"):
        train_steps([run], first, count)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_a_gpu_back_end_that_cannot_run_says_why(run, backend):
    with pytest.raises(BackendUnavailable, match=f"back-end {backend} cannot run train_steps here: "):
        train_steps([run], 0, 1, backend)


def test_auto_chooses_the_cpu_kernels_and_eager_for_unsupported_types(run):
    assert steps.serving_backend([run]) == "cpu"
    double = make_run(CASE, torch.float64, torch.device("cpu")).copy()
    assert steps.serving_backend([double]) == "eager"
    with pytest.raises(BackendUnavailable, match="takes float32"):
        train_steps([double], 0, 1, "cpu")
    assert np.isfinite(train_steps([double], 0, 1).item())


def test_a_back_end_that_fails_midway_leaves_no_trace(run, monkeypatch):
    """With "auto" the next back-end starts from the weights and state of the first."""
    expected, again = run.copy(), run.copy()
    losses = train_steps([expected], 0, 2, "eager")

    def fail(runs, first, steps):
        for tensor in (runs[0].w_enc, runs[0].state["w_dec"][0]):
            tensor.add_(1)
        raise registry.BackendUnavailable("a kernel does not fit")

    module = SimpleNamespace(train_steps=fail, refusal=lambda runs: None)
    implementation = registry.implementation
    monkeypatch.setattr(
        registry, "implementation", lambda op, name: module if name == "cpu" else implementation(op, name)
    )
    assert torch.equal(train_steps([again], 0, 2), losses) and same_weights(again, expected)
    with pytest.raises(BackendUnavailable, match="a kernel does not fit"):
        train_steps([again], 0, 2, "cpu")


def test_on_a_gpu_a_large_batch_prefers_triton(run, monkeypatch):
    preferences = []

    def resolve(op, backend, *, preferred, **others):
        preferences.append(preferred)
        return "eager"

    monkeypatch.setattr(steps, "resolve", resolve)
    large = with_crops(run, batch=steps.LARGE_BATCH)
    for runs in ([run], [large], [large, large]):
        steps.serving_backend(runs)
    assert preferences == [None, "triton", None]
