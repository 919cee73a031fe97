"""Tests of the division of a run's time among its groups."""

import pytest

from partae_fast.bench import bench_startup, budget, timing
from partae_fast.bench.budget import Budget
from partae_fast.bench.session import Options, Session


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def run_groups(limit: float, groups: int, compile_seconds: float, round_seconds: float, versions: int = 3) -> tuple:
    """Run groups with two plain and some compiled versions; return seconds, rounds of each group, compiled versions."""
    clock = Clock()
    total, rounds, compiled = Budget(limit, groups, clock), [], 0
    for _ in range(groups):
        share = total.share()
        clock.seconds += 0.1
        for number in range(versions):
            version = f"torch.compile {number}"
            if share.refusal(version) is None:
                clock.seconds += compile_seconds
                share.took(version, compile_seconds)
                compiled += 1
        rounds.append(share.rounds(25, round_seconds, reserve=0.05))
        clock.seconds += rounds[-1] * round_seconds + 0.05
    return clock.seconds, rounds, compiled


@pytest.mark.parametrize("limit", [budget.QUICK_SECONDS, budget.FULL_SECONDS])
@pytest.mark.parametrize("compile_seconds", [0.5, 7.0, 30.0])
@pytest.mark.parametrize("round_seconds", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("groups", [1, 4, 100])
def test_a_run_ends_in_time(limit, compile_seconds, round_seconds, groups):
    """A run is longer than its limit only by the fewest rounds and by a compilation longer than all before it."""
    seconds, rounds, _ = run_groups(limit, groups, compile_seconds, round_seconds)
    least = 0.15 + budget.FEWEST_ROUNDS * round_seconds
    unexpected = max(0.0, compile_seconds - budget.COMPILE_SECONDS)
    assert seconds <= max(limit + least + unexpected, groups * least + compile_seconds)
    assert min(rounds) >= budget.FEWEST_ROUNDS


def test_a_run_with_enough_time_leaves_nothing_out():
    seconds, rounds, compiled = run_groups(budget.FULL_SECONDS, 100, 4.0, 0.2, versions=2)
    assert rounds == [25] * 100 and compiled == 200 and seconds < budget.FULL_SECONDS


def test_a_quick_run_of_four_groups_compiles_all_once():
    """The groups of encode, with code that is already compiled."""
    assert run_groups(budget.QUICK_SECONDS - 5, 4, 2.0, 0.2, versions=1)[2] == 4


def test_plain_versions_are_never_left_out():
    share = Budget(0.0, 1, Clock()).share()
    assert share.refusal("eager") is None and share.refusal("cpu") is None
    assert "the time of the run is used up" in str(share.refusal("torch.compile"))


def test_time_that_a_group_does_not_use_is_for_the_others():
    clock = Clock()
    total = Budget(30.0, 3, clock)
    assert total.share().left() == 10.0
    clock.seconds = 2.0
    assert total.share().left() == 14.0
    clock.seconds = 16.0
    assert total.share().left() == 14.0


def test_limits_are_those_of_the_documentation():
    starts = bench_startup.WARM_ROUNDS + 2  # a cold start, and one before the warm starts
    assert budget.FULL_SECONDS + starts * 40 <= 40 * 60
    assert budget.QUICK_SECONDS + 6 <= 30


def test_a_session_divides_the_time_of_its_groups(monkeypatch):
    groups = [("bench_a", "a forward"), ("bench_a", "a both"), ("bench_a", "a both"), ("bench_b", "b both")]
    quick, full, fixed = Session(Options(quick=True)), Session(Options()), Session(Options(rounds=3))
    for run in (quick, full, fixed):
        run.limit(groups)
    assert quick._budget and full._budget and fixed._budget is None
    assert (quick._budget.groups, full._budget.groups) == (3, 3)
    assert quick._budget.left() == pytest.approx(2 * budget.QUICK_SECONDS, abs=1)
    assert full._budget.left() == pytest.approx(budget.FULL_SECONDS, abs=1)


def test_a_contest_without_time_takes_the_fewest_rounds(monkeypatch):
    from tests.bench.test_bench import contest_of

    monkeypatch.setattr(timing, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-4)
    contest = contest_of("decode", "forward")
    contest.peers = dict.fromkeys(("eager", "torch.compile"), contest.peers["eager"])
    outcome = contest.run("cpu", share=Budget(0.0, 1).share())
    assert {name: len(samples) for name, samples in outcome.samples.items()} == {"cpu": 3, "eager": 3}
    assert "used up" in outcome.unable["torch.compile"]
    assert len(contest.run("cpu", rounds=5).samples["torch.compile"]) == 5
