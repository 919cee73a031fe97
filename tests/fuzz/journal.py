"""journals of a folder of denoised recordings, damaged or made up."""

import functools
import json
import logging
import os
import random
import shutil
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from partae_fast.denoising.batch.jobs import BatchSettings, Job, Outcome
from partae_fast.denoising.batch.journal import NAME, Journal
from partae_fast.errors import UserError

from .damage import damaged
from .limits import Check, within_limits

SETTINGS = BatchSettings(Path("m"), "0" * 64)
NAMES = ("a.wav", "b.wav", "c.wav")
TIME = 10**18  # of change, in ns, of the files
VALUES = (
    *(None, True, 0, 1, -1, 1.5, 2**63, 10**30, "", "a.wav", "b.wav", "../b.wav", "/etc/passwd", "\x1b[2J", "\ud800"),
    *([], {}, [0], [5, TIME], [5.0, 1e18], [None, None], [1, 2, 3], "52", {"0": 5, "1": TIME}, "x" * 5000),
)
EVENTS = ("run", "begun", "done", "failed", "refused", "", None, 5)


@functools.cache
def lines() -> tuple[str, ...]:
    """Lines as a run writes them, with FOLDER in place of the folder."""
    key = {"input": "FOLDER/in/a.wav", "size": 5, "mtime_ns": TIME, "model": "0" * 64}
    key["settings"] = SETTINGS.sample_settings()
    made = [{"event": "run", "version": 1, "process": 7, "machine": "m", "program": "p"}]
    for name in NAMES:
        made += [
            {"event": "begun", "output": name, "input": f"FOLDER/in/{name}", "replaced": None},
            {"event": "begun", "output": name, "input": f"FOLDER/in/{name}", "replaced": [5, TIME]},
            {**key, "event": "done", "output": name, "seconds": 1.0, "written": [5, TIME]},
            {**key, "event": "failed", "output": name, "reason": "r", "notes": ["n"]},
            {**key, "event": "refused", "output": name, "reason": "r"},
        ]
    return tuple(json.dumps(line) for line in made)


def target() -> tuple[st.SearchStrategy[bytes], Check]:
    """The strategy and the check, for `fuzz`."""
    return st.builds(made, st.randoms(use_true_random=True)), check


def made(pick: random.Random) -> bytes:
    """Return a journal: lines in any order, with values replaced, and damaged bytes."""
    rows = [pick.choice(lines()) for _ in range(pick.choice((0, 1, 2, 4, 8, 20)))]
    for index, row in enumerate(rows):
        while pick.random() < 0.25:
            rows[index] = json.dumps(_changed(pick, json.loads(row)))
            row = rows[index]
    content = "\n".join(rows).encode() + pick.choice((b"\n", b""))
    for _ in range(pick.choice((0, 0, 0, 1, 2))):
        content = damaged(pick, content, "\n".join(lines()).encode())
    return content


def _changed(pick: random.Random, line: Any) -> Any:
    if not isinstance(line, dict) or pick.random() < 0.05:
        return pick.choice(VALUES)
    key = pick.choice((*line, "version", "written", "replaced"))
    if pick.random() < 0.2:
        return {name: value for name, value in line.items() if name != key}
    return {**line, key: pick.choice(EVENTS if key == "event" else VALUES)}


@within_limits
def check(raw: bytes, folder: Path) -> str:
    """Continue a run with the journal; returns what became of it.

    Whatever it says, it names files in the folder only, and what this run writes is found by the next.
    """
    shutil.rmtree(folder / "out", ignore_errors=True)
    for name in NAMES:
        for path in (folder / "in" / name, folder / "out" / name):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"audio")
            os.utime(path, ns=(TIME, TIME))
    (folder / "out" / NAME).write_bytes(raw.replace(b"FOLDER", bytes(folder)))
    jobs = [Job(folder / "in" / name, folder / "out" / name, 5, TIME) for name in NAMES]
    logging.disable(logging.WARNING)
    try:
        with Journal(folder / "out") as journal:
            states = [_state(journal, job) for job in jobs]
            journal.begin(jobs[0])
            journal.end(Outcome(jobs[0], 1.0, (5, TIME)), SETTINGS)
            journal.begin(jobs[1])
            journal.refuse(Outcome(jobs[2], reason="r"), SETTINGS)
        with Journal(folder / "out") as journal:
            assert _state(journal, jobs[0]) == "finished"
            assert _state(journal, jobs[1]) == "interrupted"
            assert _state(journal, jobs[2]) == states[2]
    except UserError as refusal:
        line = str(refusal)
        assert line.startswith(str(folder)) and "\n" not in line and len(line) < 1500, line
        return "refused"
    finally:
        logging.disable(logging.NOTSET)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [*NAMES, NAME]
    return ", ".join(sorted(set(states)))


def _state(journal: Journal, job: Job) -> str:
    """Return what a run does with a job."""
    if journal.finished(job, SETTINGS):
        return "finished"
    obstacle = journal.obstacle(job, SETTINGS)
    if obstacle is not None:
        assert obstacle.startswith(str(job.target)) and "\n" not in obstacle and len(obstacle) < 1500, obstacle
        return "refused"
    return "interrupted" if journal.interrupted(job) else "replaced"
