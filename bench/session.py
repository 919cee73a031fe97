"""The state that the benchmarks of one run share: the options, the ceilings and the measured groups."""

import contextlib
import gc
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from partae_fast.conformance.candidate import Candidate

from . import peers
from .budget import FULL_SECONDS, QUICK_SECONDS, Budget
from .candidate import as_backend, joins
from .ceilings import ROUNDS as CEILING_ROUNDS
from .ceilings import ceilings, faster
from .declaration import QUICK_ROUNDS, Benchmark, Shape, text_of
from .passes import STEP
from .timing import Row, environment
from .train_step import peak_memory, rounding


@dataclass(frozen=True)
class Options:
    """The options of a run, which select its groups and say how they are measured."""

    device: str = "cpu"
    type: str = "float32"
    shape: tuple[int, ...] | None = None
    op_pass: str | None = None
    candidate: Candidate | None = None
    quick: bool = False
    smoke: bool = False
    rounds: int | None = None
    memory: bool = False


@dataclass(frozen=True)
class Case:
    """One version of a group."""

    op_pass: str
    shape: str
    version: str
    group: str
    name: str


@dataclass
class Group:
    """The results of a group, by version."""

    rows: dict[str, Row] = field(default_factory=dict)
    samples: dict[str, np.ndarray] = field(default_factory=dict)  # seconds
    correct: set[str] = field(default_factory=set)
    wrong: dict[str, str] = field(default_factory=dict)  # why a version is wrong and was not timed
    unable: dict[str, str] = field(default_factory=dict)  # why a version cannot run here
    facts: dict[str, Any] = field(default_factory=dict)  # commit, load and versions of the run


class Session:
    """A run of benchmarks, in which each group is measured once, and its results are kept."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.environment = environment()
        self.ceilings: dict[str, Any] = {}
        self.groups: dict[str, Group] = {}
        self._last: tuple[str, str] | None = None
        self._budget: Budget | None = None

    def limit(self, groups: Collection[tuple[str, str]]) -> None:
        """Limit the time of the run to that of these groups, given as (benchmark, group); not if rounds are given."""
        if groups and self.options.rounds is None:
            quick = QUICK_SECONDS * len({name for name, _ in groups})
            self._budget = Budget(quick if self.options.quick else FULL_SECONDS, len(set(groups)))

    def cases(self, declared: Benchmark) -> Iterator[Case]:
        """Yield the versions of a benchmark's groups that the options select."""
        options, candidate = self.options, self.options.candidate
        if candidate and candidate.op not in (declared.op, *declared.ops):
            return
        for op_pass in declared.passes:
            if options.op_pass not in (None, op_pass):
                continue
            if options.type == "bfloat16" and (declared.ours or op_pass == STEP):  # only ops run under autocast
                continue
            name = candidate.name if candidate and joins(candidate, op_pass) else None
            if candidate and not name:
                continue
            for shape in self._shapes(declared):
                for version in self._versions(declared, op_pass, declared.backends(options.device, name)):
                    yield self._case(declared, op_pass, shape, version)

    def _case(self, declared: Benchmark, op_pass: str, shape: Shape, version: str) -> Case:
        settings = [*([self.options.type] if self.options.type != "float32" else [])]
        settings += [self.options.device] if self.options.device != "cpu" else []
        text = text_of(shape)
        group = " ".join([declared.name or declared.op, op_pass, text, *settings])
        return Case(op_pass, text, version, group, "-".join([op_pass, text, *settings, version]))

    def _shapes(self, declared: Benchmark) -> list[Shape]:
        shapes, options = declared.shapes_on(self.options.device), self.options
        if not shapes:
            return []
        if options.smoke:
            return [declared.smoke]
        if options.shape:
            return [dict(zip(shapes[0], options.shape, strict=True))] if len(options.shape) == len(shapes[0]) else []
        return [declared.quick or shapes[0]] if options.quick else shapes

    def _versions(self, declared: Benchmark, op_pass: str, backends: list[str]) -> list[str]:
        versions = declared.versions(op_pass, self.options.device, backends)
        if self.options.smoke:  # compilation takes too long for a smoke run
            return [name for name in versions if "torch.compile" not in name]
        return [name for name in versions if peers.MAX_AUTOTUNE not in name] if self.options.quick else versions

    def group(self, declared: Benchmark, case: Case, versions: Collection[str], timed: bool) -> Group:
        """Return the group of a case; the first call checks and measures its versions."""
        if case.group not in self.groups:
            threads = torch.get_num_threads()
            try:
                self.groups[case.group] = self._measure(declared, case, versions, timed)
            finally:
                torch.set_num_threads(threads)
        return self.groups[case.group]

    def _measure(self, declared: Benchmark, case: Case, versions: Collection[str], timed: bool) -> Group:
        options, candidate = self.options, self.options.candidate
        shape = next(shape for shape in self._shapes(declared) if text_of(shape) == case.shape)
        facts = {name: self.environment[name] for name in ("commit", "versions")} | {"load": os.getloadavg()[0]}
        if timed and options.device not in self.ceilings:
            self.ceilings[options.device] = self._measure_ceilings()
        share = self._budget.share() if timed and self._budget else None
        if timed and self._last != (key := (declared.name or declared.op, case.shape)):
            torch.compiler.reset()  # otherwise PyTorch compiles for variable sizes
            self._last = key
        gc.collect()
        rounds = options.rounds or (min(declared.rounds, QUICK_ROUNDS) if options.quick else declared.rounds)
        with (
            as_backend(candidate, options.device) if candidate else contextlib.nullcontext(),
            rounding(options.type, options.device),
        ):
            name = candidate.name if candidate else None
            contest = declared.build(case.op_pass, shape, options.device, declared.backends(options.device, name))
            contest.type = options.type
            contest.candidate = declared.prefix + name if name else None
            outcome = contest.run(options.device, versions, rounds, timed, share)
            if options.memory and declared.op == "train_steps":
                for version in outcome.samples:
                    form = contest.about.get(version, {}).get("adadelta", "foreach")
                    figures = peak_memory(version, shape, options.device, form)
                    contest.about[version] = contest.about.get(version, {}) | figures
        rows = contest.rows(outcome, shape, options.device, self.ceilings[options.device]) if timed else []
        if any(row.fault for row in rows):  # other programs may have slowed the measurement of the ceilings
            new_ceilings = faster(self.ceilings[options.device], self._measure_ceilings())
            self.ceilings[options.device] = new_ceilings
            rows = contest.rows(outcome, shape, options.device, new_ceilings)
        return Group(
            {row.version: row for row in rows},
            outcome.samples,
            set(outcome.errors),
            outcome.wrong,
            outcome.unable,
            facts,
        )

    def _measure_ceilings(self) -> dict[str, Any]:
        return ceilings(self.options.device, QUICK_ROUNDS if self.options.quick else CEILING_ROUNDS)

    def not_timed(self) -> dict[str, str]:
        """Return why versions were not timed, by group and version."""
        return {
            f"{name}, {version}": reason
            for name, group in self.groups.items()
            for version, reason in (group.wrong | group.unable).items()
        }
