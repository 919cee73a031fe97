"""Whole training steps in Triton's interpreter, on the CPU, against the float64 reference.

`test_triton.py` runs this file in a process of its own, because Triton reads TRITON_INTERPRET on import. The
interpreter does not round to TF32 and computes bfloat16 wrongly: both need a GPU.
"""

import contextlib
import gc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from partae_fast.kernels._triton.common import tl
from partae_fast.kernels.train_steps import RULES, TrainingRun, eager, fresh_state, triton
from partae_fast.reference import philox as philox_reference
from partae_fast.reference import train_steps as reference
from partae_fast.reference.sampler import statistics
from partae_fast.sampling.crops import CropSampler

from ...training import agreement

SHAPES = {  # B, N, H, K, M, P, noise-only share
    "several items to a program": (5, 21, 5, 3, 3, 4, 0.4),
    "one of everything": (1, 1, 1, 1, 1, 1, 0.0),
    "one item, an even filter": (1, 19, 6, 5, 4, 5, 0.0),
    "all noise": (2, 16, 4, 4, 2, 8, 1.0),
    "no pooling, odd sizes": (2, 9, 7, 9, 5, 1, 0.5),
    "taps in two parts": (2, 14, 3, 2, 11, 6, 0.5),
    "a filter longer than the item": (2, 4, 3, 2, 7, 3, 0.5),
    "a pool longer than the item": (2, 5, 3, 2, 2, 9, 0.5),
    "more bins and latents than a tile": (1, 6, 35, 33, 2, 4, 0.0),
    "a pool longer than a chunk": (1, 75, 2, 2, 3, 70, 0.0),
    "several tiles": (1, 270, 2, 3, 3, 16, 0.0),
}
OPTIONS = {
    "adadelta": {"learning_rate": 0.5, "rho": 0.9, "epsilon": 1e-3, "weight_decay": 0.5},
    "adam": {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.5},
    "sgd": {"learning_rate": 1e-3, "momentum": 0.7, "weight_decay": 0.5},
    "nesterov": {"learning_rate": 1e-3, "momentum": 0.8, "weight_decay": 0.5},
}
FIRST, STEPS, SEED = 7, 2, 2**40 + 5


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Fill new tensors with NaN or an impossible number, to show elements that were not written; clear the plans."""
    empty = torch.empty

    def poison(*size, **options):
        tensor = empty(*size, **options)
        return tensor.fill_(float("nan") if tensor.is_floating_point() else -(2**31))

    monkeypatch.setattr(torch, "empty", poison)
    triton._uses.clear()
    triton._plans.clear()


class Problem:
    """Recordings, weights and settings in one shape, which determines the numbers."""

    def __init__(self, batch, frames, bins, latents, taps, pool, noise_only=0.5, rule="adadelta", **extras):
        rng = np.random.default_rng((batch, frames, bins, latents, taps, pool))

        def recording(extra):
            return rng.gamma(1.0, 1.0, (frames + extra, bins)).astype(np.float32)

        self.signal = [[recording(7), recording(0), recording(20)], [recording(5)]]
        self.noise = [[recording(3)], [recording(1), recording(9)], [recording(2)]]
        self.sizes = {"frames": frames, "batch": batch, "noise_only": noise_only}
        self.w_enc = (rng.standard_normal((taps, bins, latents)) / np.sqrt(taps * bins)).astype(np.float32)
        self.w_dec = (rng.standard_normal((taps, latents, bins)) / np.sqrt(taps * latents)).astype(np.float32)
        self.foreground = (np.arange(latents) % 4 != 1).astype(np.float32)
        self.corruption = [[recording(4), recording(6)], [recording(1)]][: extras.get("corrupted", 0)]
        self.pool, self.rule = pool, rule
        self.rectifiers = extras.get("negative_slope", 0.0), extras.get("rectified_output", False)

    def run(self, **changes):
        sampler = CropSampler(self.signal, self.noise, seed=SEED, corruption=self.corruption, **self.sizes)
        w_enc, w_dec = torch.tensor(self.w_enc), torch.tensor(self.w_dec)
        measured = statistics(self.signal, self.sizes["frames"], self.corruption)
        mean, std = (torch.tensor(v, dtype=torch.float32) for v in measured)
        state = fresh_state(w_enc, w_dec, self.rule)
        foreground = torch.tensor(self.foreground)
        settings = (0.75, self.pool, self.rule, OPTIONS[self.rule], *self.rectifiers)
        return replace(TrainingRun(w_enc, w_dec, state, sampler.crops, mean, std, foreground, *settings), **changes)

    def truth(self, steps=STEPS):
        settings = (0.75, self.rule, OPTIONS[self.rule], *self.rectifiers)
        setting = reference.Setting(self.foreground, self.pool, *settings)
        start = reference.beginner({"w_enc": self.w_enc, "w_dec": self.w_dec})
        drawn = {**self.sizes, "seed": SEED, "first": FIRST, "corruption": self.corruption}
        return reference.train_steps(start, self.signal, self.noise, setting, steps, **drawn)


def agree(name, result, expected, tolerance=1e-5):
    """Check that the relative RMS error is at most `tolerance`; a value that is not finite fails."""
    result = result.double().numpy()
    assert result.shape == np.shape(expected), name
    assert np.isfinite(result).all(), f"{name} has values that are not finite"
    error, scale = np.sqrt(np.mean((result - expected) ** 2)), np.sqrt(np.mean(np.square(expected)))
    assert error <= tolerance * scale, f"{name}: RMS error {error:.3g}, of {scale:.3g}"


def written(run):
    """Return the tensors that a step changes, by name."""
    names = [(weight, name) for weight in ("w_enc", "w_dec") for name in RULES[run.optimizer].state]
    tensors = *run.state["w_enc"], *run.state["w_dec"]
    kept = {f"{weight} {name}": t for (weight, name), t in zip(names, tensors, strict=True)}
    return {"w_enc": run.w_enc, "w_dec": run.w_dec} | kept


def check(problem, run, losses, steps=STEPS):
    learner, expected = problem.truth(steps)
    agree("losses", losses[0], np.array(expected))
    assert losses.dtype == torch.float64
    for name, tensor in written(run).items():
        weight, *kept = name.split()
        agree(name, tensor, learner.state[weight][kept[0]] if kept else learner.weights[weight])


def same_bits(one, other):
    for name, tensor in written(one).items():
        assert torch.equal(tensor, written(other)[name]), name


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_step_agrees_with_the_reference(shape):
    problem = Problem(*shape)
    run = problem.run()
    check(problem, run, triton.train_steps([run], FIRST, 1), 1)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_agrees_with_the_reference(rule):
    """In two calls, of which the second continues from the state of the first."""
    problem = Problem(3, 13, 4, 5, 3, 4, rule=rule)
    run = problem.run()
    losses = [triton.train_steps([run], FIRST + step, 1) for step in range(STEPS)]
    check(problem, run, torch.cat(losses, dim=1))


def test_a_trainer_agrees_with_the_reference():
    loss, update = agreement.teacher_forced("triton", 5)
    assert loss <= 1e-5
    assert update <= 1e-5
    assert agreement.free_running("triton") <= 1e-4


SMALL = (2, 9, 3, 5, 2, 4)


@pytest.mark.parametrize(("noise_only", "corrupted"), [(0.5, 1), (0.0, 2), (1.0, 2)])
def test_corruption_is_in_the_input_and_not_in_the_target(noise_only, corrupted):
    problem = Problem(*SMALL, noise_only, corrupted=corrupted)
    run = problem.run()
    check(problem, run, triton.train_steps([run], FIRST, 1), 1)


RECTIFIERS = [
    {"negative_slope": 1 / 3},
    {"rectified_output": True},
    {"negative_slope": 0.25, "rectified_output": True, "corrupted": 1},
]


@pytest.mark.parametrize("extras", RECTIFIERS, ids=str)
def test_a_negative_slope_and_a_rectified_output(extras):
    problem = Problem(2, 19, 3, 5, 4, 5, **extras)
    run = problem.run()
    check(problem, run, triton.train_steps([run], FIRST, 1), 1)


@pytest.mark.parametrize("negative_slope", [0.0, 0.5])
def test_filters_without_a_positive_activation_learn_only_with_a_negative_slope(negative_slope):
    problem = Problem(*SMALL, negative_slope=negative_slope)
    problem.w_enc[:] = -np.abs(problem.w_enc)
    run = problem.run(options=OPTIONS["adadelta"] | {"weight_decay": 0.0})
    run.mean.zero_()  # the encoder's input is positive
    triton.train_steps([run], FIRST, 1)
    assert torch.equal(run.w_enc, torch.tensor(problem.w_enc)) == (negative_slope == 0)


def test_three_steps_have_the_bits_of_one_and_two():
    problem = Problem(*SMALL, rule="adam")  # whose factors depend on the number of the step
    once, parts = problem.run(), problem.run()
    losses = triton.train_steps([once], FIRST, 3)
    first, second = triton.train_steps([parts], FIRST, 1), triton.train_steps([parts], FIRST + 1, 2)
    assert torch.equal(losses, torch.cat([first, second], dim=1))
    same_bits(once, parts)


class Graph:
    """A stand-in for a CUDA graph that records the steps of a plan during capture and runs them on replay."""

    def __init__(self):
        self.noted, self.replays = [], 0

    def replay(self):
        self.replays += 1
        for step in self.noted:
            step()


def test_a_plan_captures_steps_once_and_replays_them(monkeypatch):
    graphs, capturing, step = [], [], triton.Plan.step

    def make():
        graphs.append(Graph())
        return graphs[-1]

    @contextlib.contextmanager
    def capture(graph, stream, capture_error_mode):
        assert stream.device == run.w_enc.device
        capturing.append(graph)
        yield
        capturing.pop()

    def step_or_note(plan, source):
        if capturing:
            capturing[-1].noted.append(lambda: step(plan, source))
        else:
            step(plan, source)

    monkeypatch.setattr(triton, "GRAPH_STEPS", 2)
    monkeypatch.setattr(triton, "has_graphs", lambda device: True)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: SimpleNamespace(device=device))
    monkeypatch.setattr(triton.Plan, "step", step_or_note)
    problem = Problem(*SMALL, rule="adam")
    run = problem.run()
    pieces = [triton.train_steps([run], FIRST + first, count) for first, count in ((0, 2), (2, 3), (5, 2))]
    check(problem, run, torch.cat(pieces, dim=1), 7)
    assert [(len(graph.noted), graph.replays) for graph in graphs] == [(1, 2), (2, 2)]
    other = replace(problem.run(), crops=run.crops)  # another run with these recordings, as in a population
    check(problem, other, triton.train_steps([other], FIRST, STEPS))
    assert [graph.replays for graph in graphs] == [2 + STEPS % 2, 2 + STEPS // 2]


def test_more_steps_than_the_history_holds(monkeypatch):
    monkeypatch.setattr(triton, "HISTORY", 2)
    problem = Problem(*SMALL)
    run = problem.run()
    check(problem, run, triton.train_steps([run], FIRST, 3), 3)


def test_runs_in_one_call_give_the_results_of_several_calls():
    problem = Problem(*SMALL)
    changes = {"penalty": 0.25, "options": {"learning_rate": 0.1, "rho": 0.8, "epsilon": 1e-2, "weight_decay": 0.1}}
    together = [problem.run(), problem.run(**changes)]
    losses = triton.train_steps(together, FIRST, STEPS)
    for run, row, settings in zip(together, losses, ({}, changes), strict=True):
        alone = problem.run(**settings)
        assert torch.equal(triton.train_steps([alone], FIRST, STEPS)[0], row)
        same_bits(run, alone)


def test_a_plan_is_reused_with_other_settings():
    problem = Problem(*SMALL)
    run = problem.run()
    triton.train_steps([run], FIRST, 1)
    other = replace(run, crops=replace(run.crops, seed=3, noise_items=2), penalty=0.1)
    alone = other.copy()
    triton.train_steps([other], FIRST, 2)
    triton.train_steps([alone], FIRST, 2)
    assert len(triton._plans) == 1
    same_bits(other, alone)


def test_a_population_shares_a_plan():
    problem = Problem(1, 2, 2, 2, 1, 2)
    runs = [problem.run() for _ in range(5)]  # each with recordings of its own
    triton.train_steps(runs, FIRST, 1)
    assert len(triton._plans) == 1 and len(triton._uses) == 5 > triton.USES
    together = [run.copy() for run in runs[:2]]
    triton.train_steps(together, FIRST + 1, 1)
    for run, copy in zip(runs, together, strict=False):
        triton.train_steps([run], FIRST + 1, 1)
        same_bits(run, copy)


def test_recordings_keep_few_plans_and_release_them():
    problem = Problem(1, 4, 2, 2, 1, 2)
    run = problem.run()
    for slope in (0.0, 0.1, 0.2, 0.3, 0.4):
        triton.train_steps([replace(run.copy(), negative_slope=slope)], FIRST, 1)
    gc.collect()
    assert len(triton._plans) == triton.USES == 4
    del run
    gc.collect()
    assert len(triton._plans) == len(triton._uses) == 0


def test_latents_that_never_fire():
    problem = Problem(*SMALL)
    problem.w_enc[:] = 0
    run = problem.run(options=OPTIONS["adadelta"] | {"weight_decay": 0.0})
    losses = triton.train_steps([run], FIRST, 2)
    assert not run.w_enc.any() and torch.equal(run.w_dec, torch.tensor(problem.w_dec))
    agree("losses", losses[0], np.array(problem.truth(2)[1]))


@pytest.mark.parametrize("corrupted", [0, 2])
def test_starts_are_those_of_the_eager_form(corrupted):
    problem = Problem(70, 8, 2, 2, 1, 4, corrupted=corrupted)
    crops = problem.run().crops
    run = problem.run()
    plan = triton.use_of(run).plan
    plan.begin(run, FIRST)
    plan.draw()
    for item, first_rows in enumerate(eager.first_rows(crops, FIRST)):
        groups, signal = np.arange(len(first_rows)), crops.signal_groups
        of_signal, of_noise = groups < signal, (groups >= signal) & (groups < signal + crops.noise_groups)
        rows = first_rows[~(of_signal if item < crops.noise_items else of_noise)]
        np.testing.assert_array_equal(plan.starts[item, : len(rows)], rows)


@triton.triton.jit
def words_kernel(out_ptr, steps_ptr, items_ptr, groups_ptr, key_ptr, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    step = tl.load(steps_ptr + offs).to(tl.uint32)
    item = tl.load(items_ptr + offs).to(tl.uint32)
    group = tl.load(groups_ptr + offs).to(tl.uint32)
    low, high = tl.load(key_ptr).to(tl.uint32), tl.load(key_ptr + 1).to(tl.uint32)
    tl.store(out_ptr + offs, triton.philox_word(step, item, group, low, high).to(tl.int64))


def test_philox_words():
    counters = np.array([[0, 0, 0, 0], [1, 2, 3, 0], [2**32 - 1, 2**31, 7, 0], [123456789, 4095, 1, 0]])
    key = philox_reference.seed_key(0xFEDCBA9876543210)
    out = torch.empty(4, dtype=torch.int64)
    step, item, group = (torch.tensor(counters[:, i].copy()) for i in range(3))
    triton.launch(
        words_kernel,
        1,
        out_ptr=out,
        steps_ptr=step,
        items_ptr=item,
        groups_ptr=group,
        key_ptr=torch.tensor(key.astype(np.int64)),
        BLOCK=4,
    )
    assert out.tolist() == [int(w) for w in philox_reference.philox(counters, key)[:, 0]]


def test_refusals():
    problem = Problem(*SMALL)
    run = problem.run()
    assert triton.refusal([run]) is None
    assert "float32 weights with float32 state, not float16, float32" in str(
        triton.refusal([replace(run, w_enc=run.w_enc.half())])
    )
    crops = replace(run.crops, source=run.crops.source.double())
    assert "float32 or bfloat16, not float64" in str(triton.refusal([replace(run, crops=crops)]))
    crops = replace(run.crops, target=run.crops.source)
    assert "does not take recordings with targets" in str(triton.refusal([replace(run, crops=crops)]))
    crops = replace(run.crops, frames=2**29)
    assert "fewer than 2^30" in str(triton.refusal([replace(run, crops=crops)]))
