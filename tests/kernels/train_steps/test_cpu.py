"""Whole steps on the CPU: bits that do not depend on threads or launches, and the plan of the work."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from partae_fast.conformance.cases import LARGER, TINY, Case
from partae_fast.conformance.train_steps import make_run
from partae_fast.kernels.train_steps import RULES, cpu, fresh_state

CPU = torch.device("cpu")
PAPER = Case("the paper's", 3, 512, 32, 32, 9, 16)
FEW_ITEMS = Case("one item in many cells", 1, 1500, 7, 20, 4, 5)
CORRUPTED = next(case for case in TINY if case.corruption)
TARGETS, MANY_TARGETS = (next(case for case in cases if case.targets and case.corruption) for cases in (TINY, LARGER))
RECTIFIED = next(case for case in LARGER if case.rectified_output)


@pytest.fixture
def threads():
    """Set the number of threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def outcome(run, first=0, steps=6, launches=1):
    """Return losses, weights and state after `steps` steps in `launches` launches of a copy of the run."""
    run, losses = run.copy(), []
    for part in np.array_split(np.arange(first, first + steps), launches):
        losses.append(cpu.train_steps([run], int(part[0]), len(part))[0])
    return [torch.cat(losses), run.w_enc, run.w_dec, *run.state["w_enc"], *run.state["w_dec"]]


def assert_same_bits(result, expected):
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))


def variants(case, rule="adadelta"):
    """Return five runs of one shape that differ in everything that may differ within a population."""
    runs = []
    for i in range(5):
        run = make_run(case, torch.float32, CPU).copy()
        crops = replace(run.crops, seed=i, noise_items=i % (case.batch + 1), source=run.crops.source * (1 + i))
        if crops.target is not None:
            crops = replace(crops, target=crops.target * (2 + i))
        foreground = (torch.arange(case.latents) >= i).float()
        options = {name: value * (1 - 0.01 * i) for name, value in RULES[rule].options.items()}
        state = fresh_state(run.w_enc, run.w_dec, rule)
        changes = {"crops": crops, "foreground": foreground, "penalty": 0.1 * i, "options": options}
        runs.append(replace(run, optimizer=rule, state=state, **changes))
    return runs


@pytest.mark.parametrize(
    "case", [PAPER, FEW_ITEMS, TINY[2], CORRUPTED, MANY_TARGETS, RECTIFIED], ids=lambda case: case.name
)
def test_threads_change_no_bit(case, threads):
    run = make_run(case, torch.float32, CPU)
    threads(1)
    expected = outcome(run)
    for count in (2, 3, 7):  # maybe more threads than processors: they yield to each other
        threads(count)
        assert_same_bits(outcome(run), expected)


def test_twenty_runs_give_the_same_bits(threads):
    threads(3)
    run = make_run(PAPER, torch.float32, CPU)
    expected = outcome(run, steps=2)
    for _ in range(20):
        assert_same_bits(outcome(run, steps=2), expected)


@pytest.mark.parametrize("rule", list(RULES))
def test_launches_change_no_bit(rule):
    run = variants(TINY[2], rule)[1]
    expected = outcome(run, first=3, steps=7)
    for launches in (2, 3, 7):
        assert_same_bits(outcome(run, first=3, steps=7, launches=launches), expected)


@pytest.mark.parametrize("case", [PAPER, CORRUPTED, RECTIFIED], ids=lambda case: case.name)
def test_a_target_that_is_the_source_changes_no_bit(case):
    run = make_run(case, torch.float32, CPU)
    assert run.crops.target is None
    assert_same_bits(outcome(replace(run, crops=replace(run.crops, target=run.crops.source.clone()))), outcome(run))


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("case", [CORRUPTED, TARGETS], ids=lambda case: case.name)
def test_a_population_has_the_bits_of_its_members_alone(case, rule, count, threads):
    """Five runs take turns on fewer threads; with four threads two runs are trained one after the other."""
    threads(count)
    runs = variants(case, rule)[: 5 if count < 4 else 2]
    expected = [outcome(run, first=2, steps=2 * cpu.TURN + 1) for run in runs]
    losses = cpu.train_steps(runs, 2, 2 * cpu.TURN + 1)
    for run, row, alone in zip(runs, losses, expected, strict=True):
        assert_same_bits([row, run.w_enc, run.w_dec, *run.state["w_enc"], *run.state["w_dec"]], alone)


@pytest.mark.parametrize("case", [*TINY, *LARGER], ids=lambda case: case.name)
def test_cells_cover_every_window_once(case):
    shape = make_run(case, torch.float32, CPU).shape
    cut = cpu.plan(shape)
    windows = -(-case.frames // case.pool)
    assert (cut.cells_per_item - 1) * cut.cell_windows < windows <= cut.cells_per_item * cut.cell_windows
    assert 1 <= cut.partials <= min(cpu.PARTIALS, case.batch * cut.cells_per_item)


def test_one_item_is_cut_into_cells_and_many_items_are_not():
    assert cpu.plan((1, 65536, 32, 32, 9, 16)).partials == cpu.PARTIALS
    assert cpu.plan((1, 512, 32, 32, 9, 16)).partials >= 4
    assert cpu.plan((16, 512, 32, 32, 9, 16)).cells_per_item == 1


def test_filters_without_a_positive_activation_learn_nothing():
    run = make_run(next(case for case in TINY if case.kind == "negative"), torch.float32, CPU).copy()
    run = replace(run, options=run.options | {"weight_decay": 0.0})
    before = run.w_dec.clone()
    assert run.w_enc.count_nonzero() == 0
    losses = cpu.train_steps([run], 0, 3)
    assert torch.equal(run.w_dec, before) and run.w_enc.count_nonzero() == 0
    assert torch.isfinite(losses).all() and len(set(losses[0].tolist())) > 1  # the crops differ


@pytest.mark.parametrize("case", [PAPER, RECTIFIED], ids=lambda case: case.name)
def test_numbers_that_are_not_finite_reach_the_loss(case):
    run = make_run(case, torch.float32, CPU).copy()
    run.w_enc[0, 0, 0] = float("nan")
    assert cpu.train_steps([run], 0, 2).isnan().all()


def test_refusals_say_why():
    run = make_run(TINY[2], torch.float32, CPU)
    many = replace(run.crops, group_first=np.zeros(65, np.int64))
    assert "up to 64 groups and there are 65" in cpu.refusal([replace(run, crops=many)])
    assert "take float32" in cpu.refusal([make_run(TINY[2], torch.float64, CPU)])
