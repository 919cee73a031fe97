"""Options and fixtures of `pytest bench`: each version of a group is a test of pytest-benchmark.

The versions of a group are measured together when the first of its tests runs: in every round each version is called in
turn, so a slow spell of a shared machine affects all of them. Each test hands the samples of its version to
pytest-benchmark through a timer that replays them.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from partae_fast.bench import candidate, render
from partae_fast.bench.declaration import Benchmark
from partae_fast.bench.session import Case, Group, Options, Session
from partae_fast.errors import UserError

SESSION = pytest.StashKey[Session]()
COLUMNS = ("median", "iqr", "min", "rounds")


def pytest_addoption(parser):
    group = parser.getgroup("partae")
    group.addoption("--device", choices=("cpu", "cuda"), help="device to measure (default: a GPU if there is one)")
    kinds = ("float32", "tf32", "bfloat16")
    group.addoption("--type", choices=kinds, default="float32", help="rounding of products on a GPU")
    group.addoption("--shape", metavar="SIZES", help="sizes in the order of the tables, e.g. 16,512,32,32,9,16")
    group.addoption(
        "--pass", dest="op_pass", metavar="PASS", help="measure only this pass: forward, backward, both, ..."
    )
    group.addoption(
        "--candidate", metavar="FILE.py:FUNCTION", help="also measure this function, as a back-end of its op"
    )
    group.addoption("--candidate-op", metavar="OP", help="op or pass of the candidate, if it has another name")
    group.addoption("--quick", action="store_true", help="measure the first shape, in few rounds, without max-autotune")
    group.addoption("--smoke", action="store_true", help="check results on tiny shapes, without timing")
    group.addoption("--rounds", type=int, metavar="N", help="number of samples of each version")
    group.addoption("--memory", action="store_true", help="also measure the memory of training steps")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run in one process: pytest-benchmark measures nothing in xdist's workers."""
    return 0


def pytest_configure(config):
    """Create the session, and set options of pytest-benchmark before its own hook reads them."""
    option = config.option
    if not hasattr(option, "benchmark_disable"):
        raise pytest.UsageError("pytest-benchmark is not installed; pip install 'partae-fast[test]'")
    option.benchmark_columns = option.benchmark_columns or [*COLUMNS]
    option.benchmark_disable |= option.smoke
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used")  # if a version is wrong
    try:
        config.stash[SESSION] = Session(_options(option))
    except UserError as error:
        raise pytest.UsageError(str(error)) from error


def _options(option: Any) -> Options:
    device = option.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no CUDA device; run on a machine with an NVIDIA GPU or use cpu")
    if option.type != "float32" and device == "cpu":
        raise UserError(f"--type {option.type} is for a GPU; add --device cuda or use float32")
    try:
        shape = tuple(int(size) for size in option.shape.split(",")) if option.shape else None
    except ValueError:
        shape = (0,)
    if shape and min(shape) < 1:
        raise UserError(f"--shape {option.shape!r}: give whole numbers from 1, separated by commas: 16,512,32,32,9,16")
    return Options(
        device,
        option.type,
        shape,
        option.op_pass,
        candidate.load(option.candidate, option.candidate_op) if option.candidate else None,
        option.quick,
        option.smoke,
        option.rounds,
        option.memory,
    )


def pytest_generate_tests(metafunc):
    declared = getattr(metafunc.function, "declared", None)
    if declared is not None:
        cases = [
            pytest.param(
                case.op_pass,
                case.shape,
                case.version,
                case,
                id=case.name,
                marks=pytest.mark.benchmark(group=case.group, timer=Replay()),
            )
            for case in metafunc.config.stash[SESSION].cases(declared)
        ]
        metafunc.parametrize(("op_pass", "shape", "version", "case"), cases)


def pytest_collection_modifyitems(config, items):
    session = config.stash[SESSION]
    options = session.options
    selective = options.candidate or options.shape or options.op_pass
    items[:] = [item for item in items if _has_case(item) or ("interleaved" not in item.fixturenames and not selective)]
    session.limit([(item.originalname, item.callspec.params["case"].group) for item in items if _has_case(item)])
    if items or not selective:
        return
    parts = {"--candidate": options.candidate and options.candidate.name, "--shape": config.option.shape}
    settings = [f"{name} {value}" for name, value in (parts | {"--pass": options.op_pass}).items() if value]
    raise pytest.UsageError(f"{' '.join(settings)}: no benchmark matches; list all with `pytest bench --collect-only`")


def _has_case(item: pytest.Item) -> bool:
    return isinstance(getattr(item, "callspec", None) and item.callspec.params.get("case"), Case)


class Replay:
    """A timer that replays measured durations: each pair of readings differs by the next duration."""

    __name__ = "interleaved"

    def __init__(self) -> None:
        self.readings: Iterator[float] = iter(())

    def load(self, seconds) -> None:
        self.readings = iter([reading for duration in seconds for reading in (0.0, float(duration))])

    def __call__(self) -> float:
        return next(self.readings)


@pytest.fixture
def interleaved(request, benchmark, op_pass, shape, version, case) -> Callable[[Benchmark], None]:
    """Return a function that measures the test's group once, and reports the test's version."""

    def report(declared: Benchmark) -> None:
        items = [item for item in request.session.items if _has_case(item)]
        versions = {other.version for item in items if (other := item.callspec.params["case"]).group == case.group}
        timed = not benchmark.disabled
        group = request.config.stash[SESSION].group(declared, case, versions, timed)
        if version in group.wrong:
            pytest.fail(f"{case.group}, {version}: {group.wrong[version]}; not timed", pytrace=False)
        if version in group.unable:
            pytest.skip(f"{version} cannot run here: {group.unable[version]}")
        assert version in group.correct, f"{case.group} has no version {version}"
        if timed:
            _report(benchmark, request.node, group, version)
        else:
            benchmark.pedantic(lambda: None)

    return report


def _report(benchmark: Any, node: pytest.Item, group: Group, version: str) -> None:
    row, seconds = group.rows[version], group.samples[version]
    benchmark.extra_info.update(row.to_dict() | group.facts)
    node.get_closest_marker("benchmark").kwargs["timer"].load(seconds)
    benchmark.pedantic(lambda: None, rounds=len(seconds))
    if row.fault:
        pytest.fail(f"{row.op}, {version}: {row.fault}", pytrace=False)


def pytest_benchmark_generate_machine_info(config) -> dict[str, Any]:
    """Return the properties of the machine that must be equal when commits are compared."""
    environment = config.stash[SESSION].environment
    return {name: environment[name] for name in ("processor", "threads", "gpu", "versions")}


def pytest_benchmark_update_json(config, output_json):
    session = config.stash[SESSION]
    output_json |= {"environment": session.environment, "ceilings": session.ceilings, "skipped": session.not_timed()}
    for entry in output_json["benchmarks"]:
        entry["params"].pop("case", None)


def pytest_terminal_summary(terminalreporter, config):
    """Print the columns that pytest-benchmark's table does not have."""
    session = config.stash[SESSION]
    rows = [row.to_dict() for group in session.groups.values() for row in group.rows.values()]
    if rows or session.not_timed():
        report = {"environment": session.environment, "ceilings": session.ceilings, "skipped": session.not_timed()}
        terminalreporter.write_line(render.table(report | {"rows": rows}))


def pytest_unconfigure():
    with contextlib.suppress(OSError):  # pytest-benchmark creates its folder even if it stores nothing
        Path(".benchmarks").rmdir()
