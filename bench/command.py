"""The command: run contests, print the tables, write the rows."""

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from partae_fast import kernels
from partae_fast.atomic import atomic_path
from partae_fast.conformance.candidate import Candidate
from partae_fast.errors import UserError
from partae_fast.kernels import backends

from . import curves, denoise, population, startup, train_step
from .candidate import as_backend, load
from .ceilings import ceilings, faster
from .common import Contest
from .render import curves_text, plot, table
from .shapes import shapes
from .timing import Row, environment, held_against

# The ops that have a file of their name here; snmf, which is no op, has contests too.
CONTESTS = (*(op for op in kernels.OPS if (Path(__file__).parent / f"{op}.py").is_file()), "snmf")
STEP = "train-step"
STARTUP = "startup"
DENOISE = "denoise"
OPS = (*CONTESTS, STEP, STARTUP, DENOISE)
STEP_ROUNDS, CURVE_ROUNDS, QUICK_ROUNDS = 11, 5, 3


def main(
    op: str | None = None,
    json_path: str | os.PathLike[str] | None = None,
    candidate: str | None = None,
    *,
    device: str | None = None,
    kind: str = "float32",
    with_curves: bool = False,
    quick: bool = False,
    results: str | os.PathLike[str] | None = None,
) -> int:
    """Time `op` (of OPS; all of them without one), print a table, write rows to `json_path`.

    For "train-step", `with_curves` draws time over each size too, `quick` takes few samples and no memory figures, and
    `results` is a folder for rows, table and plot of both. `device` is "cpu" or "cuda"; without one, all there are.
    `kind` is how products of ops are rounded on a GPU, for ours and the peers alike: "float32" or "tf32".

    `candidate` is FILE.py:FUNCTION, one more back-end of its op. Returns the exit code: 1 where a version was wrong and
    so not timed, or a time is below what the hardware allows. Raises UserError for settings that do not go.
    """
    mine = load(candidate, op, CONTESTS) if candidate else None
    op = mine.op if mine else op
    if op not in (None, *OPS):
        raise UserError(f"op {op!r} is not known; choose one of {', '.join(OPS)}")
    if with_curves and op != STEP:
        raise UserError(f"curves are of whole training steps; say: partae bench {STEP} --curves")
    devices = _devices(device)
    if kind != "float32" and devices != ["cuda"]:
        raise UserError(f"type {kind} is of GPUs alone; add --device cuda")
    report = _empty_report()
    complete = True
    for place in devices if op not in (STARTUP, DENOISE) else []:
        report["ceilings"][place] = ceilings(place)
        for name in CONTESTS if op is None else [op] if op in CONTESTS else []:
            complete &= _contests(name, place, report, mine, kind)
        if op in (None, STEP):
            complete &= _steps(place, report, QUICK_ROUNDS if quick else STEP_ROUNDS, not quick)
    if op in (None, STARTUP):
        report["startup_seconds"] = startup.seconds()
    if op in (None, DENOISE):
        complete &= _denoising(report)
    print(table(report))
    if json_path:
        _write(json_path, report)
    if results:
        _write_results(Path(results) / (STEP.replace("-", "_") + ".json"), report, table)
    if with_curves:
        complete &= _curves(report, QUICK_ROUNDS if quick else CURVE_ROUNDS, results)
    return 0 if complete else 1


def _devices(device: str | None) -> list[str]:
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("PyTorch sees no CUDA device; run on a machine with an NVIDIA GPU or say --device cpu")
    return [device] if device else ["cpu", *["cuda"] * torch.cuda.is_available()]


def _empty_report() -> dict[str, Any]:
    return {"environment": environment(), "ceilings": {}, "rows": [], "skipped": {}}


def _contests(name: str, device: str, report: dict[str, Any], mine: Candidate | None, kind: str) -> bool:
    """Append the rows of one op; False where a version was wrong or a row is an error."""
    module = importlib.import_module(f"{__package__}.{name}")
    versions = [b for b in ({"cpu": ["cpu"], "cuda": ["triton"]}[device]) if backends()[b].available]
    versions += [mine.name] if mine else []
    right = True
    with as_backend(mine, device) if mine else contextlib.nullcontext(), train_step.rounding(kind):
        for shape in getattr(module, "shapes", shapes)(device):
            torch.compiler.reset()
            for contest in module.contests(shape, device, versions):
                contest.type = kind
                if mine:
                    contest.candidate = mine.name
                    if mine.op_pass.endswith("_backward") and not contest.backward:
                        del contest.ours[mine.name]
                right &= _append(contest, shape, device, report)
    return right


def _append(contest: Contest, shape: dict[str, int], device: str, report: dict[str, Any]) -> bool:
    """Append the rows of one contest; False where a version was wrong or a row is an error."""
    outcome = contest.run(shape, device, report["ceilings"][device])
    if any(row.fault for row in outcome.rows):  # other work may have slowed what the ceilings were made of
        report["ceilings"][device] = faster(report["ceilings"][device], ceilings(device))
        outcome.rows = [
            held_against(row, contest.work.floor(report["ceilings"][device], contest.type)) for row in outcome.rows
        ]
    report["rows"] += [row.to_dict() for row in outcome.rows]
    print(_line(outcome.rows), flush=True)
    for version, reason in outcome.not_timed.items():
        sizes = " ".join(str(size) for size in shape.values())
        report["skipped"][f"{contest.op} ({device}; {sizes}), {version}"] = reason
    return not outcome.failed and not _any_fault(outcome.rows)


def _any_fault(found: Sequence[Row]) -> bool:
    """Whether a row is an error; each is told of."""
    for row in found:
        if row.fault:
            print(f"error: {row.op}, {row.version}: {row.fault}", flush=True)
    return any(row.fault for row in found)


def _steps(device: str, report: dict[str, Any], rounds: int, with_memory: bool) -> bool:
    """Append the rows of training steps and of a population; False where one was wrong or a row is an error."""
    limits = report["ceilings"][device]
    wrong: list[str] = []
    faulty = False
    for shape in train_step.configurations(device):
        found, skipped, not_timed = train_step.compare(shape, device, limits, rounds, with_memory)
        report["rows"] += [row.to_dict() for row in found]
        wrong += not_timed
        for name, reason in skipped.items():
            report["skipped"].setdefault(f"{device}: {name}", reason)
        print(_line(found), flush=True)
        faulty |= _any_fault(found)
    found, also_wrong = population.compare(train_step.configurations(device)[0], device, limits, rounds)
    report["rows"] += [row.to_dict() for row in found]
    return not (wrong + also_wrong) and not faulty | _any_fault(found)


def _denoising(report: dict[str, Any]) -> bool:
    """Append the rows of denoising from file to file; False where a version of ours was wrong."""
    found, skipped, wrong = denoise.compare()
    report["rows"] += found
    report["skipped"] |= skipped
    for name in wrong:
        print(f"{name}: not timed: its chunks differ from the recording in one piece")
    return not wrong


def _curves(report: dict[str, Any], rounds: int, results: str | os.PathLike[str] | None) -> bool:
    """Draw the curves of every device of the report; False where a version was wrong."""
    drawn = {
        "environment": report["environment"],
        "ceilings": report["ceilings"],
        "curves": {place: curves.measure_curves(place, found, rounds) for place, found in report["ceilings"].items()},
    }
    print(curves_text(drawn))
    if results:
        _write_results(Path(results) / "curves.json", drawn, curves_text)
    points = [point for points in drawn["curves"].values() for point in points]
    return not any(point["wrong"] or any(row["fault"] for row in point["rows"]) for point in points)


def _write(path: str | os.PathLike[str], report: dict[str, Any]) -> None:
    with atomic_path(path) as file:
        file.write_text(json.dumps(report, indent=1) + "\n")


def _write_results(path: Path, report: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> None:
    """The rows as JSON, as Markdown and as a plot."""
    _write(path, report)
    with atomic_path(path.with_suffix(".md")) as file:
        file.write_text(text(report) + "\n")
    with atomic_path(path.with_suffix(".png")) as file:
        plot(report, file)


def _line(found: list) -> str:
    if not found:
        return "nothing was timed"
    sizes = " ".join(f"{k}{v}" for k, v in found[0].shapes.items())
    times = ", ".join(f"{row.version} {row.seconds * 1e3:.3g} ms" for row in found)
    return f"{found[0].op} ({found[0].device}; {sizes}): {times}"
