"""The command: run contests, print the table, write the rows."""

import importlib
import json
import os
from typing import Any

import torch

from partae_fast.atomic import atomic_path
from partae_fast.conformance.candidate import Candidate, load_candidate, passes
from partae_fast.errors import UserError
from partae_fast.kernels import backends

from . import startup
from .ceilings import ceilings
from .render import table
from .shapes import shapes
from .timing import environment

CONTESTS = ("encode", "decode", "partitioned_loss", "train-step")


def main(op: str | None = None, json_path: str | os.PathLike[str] | None = None, candidate: str | None = None) -> int:
    """Time `op` (of CONTESTS; or "startup"; all of them without one), print a table, write rows to `json_path`.

    Returns the exit code: 1 where a version of ours was wrong and so not timed. Raises UserError for an unknown op.
    """
    mine = load_candidate(candidate, op if op in passes() else None) if candidate else None
    if mine is not None and mine.op_pass not in CONTESTS:
        raise UserError(f"candidate {candidate}: {mine.op_pass} is not timed; choose one of {', '.join(CONTESTS[:-1])}")
    op = mine.op if mine else op
    if op not in (None, "startup", *CONTESTS):
        raise UserError(f"op {op!r} is not known; choose one of {', '.join((*CONTESTS, 'startup'))}")
    report: dict[str, Any] = {"environment": environment(), "ceilings": {}, "rows": []}
    complete = True
    for device in ["cpu", *["cuda"] * torch.cuda.is_available()]:
        if op == "startup":
            break
        report["ceilings"][device] = ceilings(device)
        for name in CONTESTS if op is None else [op]:
            complete &= _contests(name, device, report, mine)
    if op in (None, "startup"):
        report["startup_seconds"] = startup.seconds()
    print(table(report))
    if json_path:
        with atomic_path(json_path) as file:
            file.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if complete else 1


def _contests(name: str, device: str, report: dict[str, Any], mine: Candidate | None) -> bool:
    """Append the rows of one op; False where a version of ours was not timed."""
    module = importlib.import_module(f"{__package__}.{name.replace('-', '_')}")
    ours = [b for b in ({"cpu": ["cpu"], "cuda": ["triton"]}[device]) if backends()[b].available]
    every = True
    for shape in shapes(device):
        torch.compiler.reset()
        for contest in module.contests(shape, device, ours, mine.function if mine else None):
            found = contest.run(shape, device, report["ceilings"][device], mine.name if mine else "")
            report["rows"] += [row.to_dict() for row in found]
            every &= set(contest.ours) <= {row.version for row in found}
            print(_line(found), flush=True)
    return every


def _line(found: list) -> str:
    sizes = " ".join(f"{k}{v}" for k, v in found[0].shapes.items())
    times = ", ".join(f"{row.version} {row.seconds * 1e3:.3g} ms" for row in found)
    return f"{found[0].op} ({found[0].device}; {sizes}): {times}"
