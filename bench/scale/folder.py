"""A folder of many short recordings, some of them corrupt, which is killed on the way and started again.

`partae denoise FOLDER --jobs 2` is killed (SIGKILL) three times: its own process, then all of its processes, then one
of the workers and after it all. In the end all good recordings must be done, none of them twice by the journal, and
nothing half-written left. Then a part of the folder is denoised anew with one job and with two, for files a minute.
"""

import collections
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from partae_fast.audio.files import read
from partae_fast.denoising.batch.journal import NAME

from .common import RATE, model_file, options, quiet, say, write

SECONDS = 0.5  # of a recording
KILLS = ("the run's own process", "all of its processes", "a worker, then all")
PER_FOLDER = 500
_SILENT: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def main(arguments: list[str]) -> int:
    parser = options("folder", __doc__ or "")
    parser.add_argument("--files", type=int, default=10_000, help="recordings (default %(default)s)")
    parser.add_argument("--corrupt", type=float, default=0.01, help="share of them (default %(default)s)")
    parser.add_argument("--timed", type=int, default=1000, help="files for the rates (default %(default)s)")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="to time (default 1 2)")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        model = model_file(folder / "model.safetensors")
        bad = _make(folder / "in", args.files, args.corrupt)
        killed = _killed_and_resumed(folder, model, args.files, bad)
        rates = [_rate(folder, model, jobs, args.timed) for jobs in args.jobs]
    claims = {
        "every good recording is done, whole and finite": killed["good_missing"] == 0,
        "every corrupt one is recorded as failed, and no good one": killed["failed"] == len(bad),
        "none is done twice": killed["done_twice"] == 0,
        "nothing half-written is left": killed["left"] == 0,
        "the run was killed three times, each time before it was done": killed["kills"] == len(KILLS),
    }
    report = {"rows": [killed, *rates], "claims": claims}
    lines = [
        f"{args.files} recordings of {SECONDS} s, {len(bad)} of them corrupt in one of {len(_CORRUPT)} ways, with "
        f"--jobs 2, killed at {', '.join(f'{share:.0%}' for share in killed['killed_at'])} ({'; '.join(KILLS)}) and "
        f"started again each time: {killed['done']} done, {killed['done_twice']} of them twice, {killed['failed']} "
        f"failed; {killed['begun_again']} recordings that were at hand when it was killed were begun again.",
        "",
        "| jobs | files | files a minute | with the start of the processes |",
        "|---:|---:|---:|---:|",
        *(
            f"| {row['jobs']} | {row['files']} | {row['files_per_minute']:.0f} | {row['files_per_minute_in_all']:.0f} |"
            for row in rates
        ),
    ]
    return write(args.results, "folder", report, "A folder of many recordings", lines)


def _cut(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(20)


def _random(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def _with_nan(path: Path) -> None:
    audio = quiet(SECONDS)
    audio[100] = np.nan
    soundfile.write(path, audio, RATE, subtype="FLOAT", format="WAV")


# In turn: each must fail on its own.
_CORRUPT = (
    _cut,
    _random,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_text("these are no samples\n" * 100),
    _with_nan,
)


def _make(folder: Path, count: int, corrupt: float) -> set[str]:
    """Write the recordings; returns the names of those that are corrupt."""
    audio, every = quiet(60), max(1, round(1 / corrupt)) if corrupt else 0
    length, bad = round(SECONDS * RATE), set()
    for number in range(count):
        path = folder / f"{number // PER_FOLDER:03}" / f"{number:06}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = (number * 997) % (len(audio) - length)
        soundfile.write(path, audio[start : start + length], RATE, subtype="PCM_16")
        if every and number % every == every // 2:
            _CORRUPT[len(bad) % len(_CORRUPT)](path)
            bad.add(str(path.relative_to(folder)))
        if number % 1000 == 0:
            say(f"written: {number} of {count} recordings")
    return bad


def _command(model: Path, source: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "partae_fast", "denoise", str(model), str(source), "--out", str(out), "-q", *options]


def _killed_and_resumed(folder: Path, model: Path, count: int, bad: set[str]) -> dict[str, Any]:
    source, out = folder / "in", folder / "out"
    command, kills, killed_at = _command(model, source, out, "--jobs", "2"), 0, []
    for number, kill in enumerate(KILLS, 1):
        wanted = number * count // (len(KILLS) + 1)
        say(f"start {number}; {kill}: to be killed at {wanted}")
        process = subprocess.Popen(command, **_SILENT, start_new_session=True)
        while process.poll() is None and _done(out) < wanted:
            time.sleep(0.1)
        kills += process.poll() is None
        if kill.startswith("a worker"):
            with contextlib.suppress(IndexError, ProcessLookupError):
                os.kill(_workers(process.pid)[0], signal.SIGKILL)
            time.sleep(5)
        with contextlib.suppress(ProcessLookupError):
            (os.kill if kill.startswith("the run") else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
        killed_at.append(_done(out) / count)
        time.sleep(2)  # its workers notice that it is gone
    say("last start")
    code = subprocess.run(command, **_SILENT).returncode
    lines = _lines(out)
    done = collections.Counter(line["output"] for line in lines if line["event"] == "done")
    begun = collections.Counter(line["output"] for line in lines if line["event"] == "begun")
    last = {line["output"]: line["event"] for line in lines if "output" in line}
    return {
        "op": "killed and resumed",
        "files": count,
        "corrupt": len(bad),
        "exit_code": code,
        "kills": kills,
        "killed_at": killed_at,
        "done": len(done),
        "done_twice": sum(times > 1 for times in done.values()),
        "begun_again": sum(times > 1 for name, times in begun.items() if name not in bad),
        "failed": len({name for name, event in last.items() if event != "done"} & bad)
        + sum(event != "done" for name, event in last.items() if name not in bad),
        "good_missing": sum(not _whole(source, out, name) for name in _names(source) - bad),
        "left": sum(1 for path in out.rglob(".*")),
    }


def _names(source: Path) -> set[str]:
    return {str(path.relative_to(source)) for path in source.rglob("*.wav")}


def _whole(source: Path, out: Path, name: str) -> bool:
    """Whether the result is there, as long as its recording, and can be read, which NaN cannot."""
    try:
        return len(read(out / name)[0]) == len(read(source / name)[0])
    except ValueError:
        return False


def _lines(out: Path) -> list[dict[str, Any]]:
    found = []
    with contextlib.suppress(FileNotFoundError):
        for line in (out / NAME).read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # cut short by a kill
                found.append(json.loads(line))
    return found


def _done(out: Path) -> int:
    """How many recordings are done, by a look that costs little beside the run itself."""
    try:
        return (out / NAME).read_bytes().count(b'"event": "done"')
    except FileNotFoundError:
        return 0


def _workers(process: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "spawn_main" in line]


def _rate(folder: Path, model: Path, jobs: int, count: int) -> dict[str, Any]:
    """Files a minute, of good ones: from the first that is done to the last, and of the whole command."""
    part, out = folder / "timed", folder / f"timed {jobs}"
    if not part.exists():
        _make(part, count, 0)
    say(f"{count} recordings with --jobs {jobs}")
    start = time.monotonic()
    subprocess.run(_command(model, part, out, "--jobs", str(jobs)), check=True, stdout=subprocess.DEVNULL)
    in_all = time.monotonic() - start
    times = [datetime.fromisoformat(line["time"]) for line in _lines(out) if line["event"] == "done"]
    assert len(times) == count
    shutil.rmtree(out)
    steady = (times[-1] - times[0]).total_seconds()
    return {
        "op": "rate",
        "jobs": jobs,
        "files": count,
        "seconds": in_all,
        "files_per_minute": 60 * (count - 1) / steady,
        "files_per_minute_in_all": 60 * count / in_all,
    }
