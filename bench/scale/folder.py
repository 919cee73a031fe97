"""Denoise a folder of many short recordings, some corrupt, in a run that is killed and resumed.

`partae denoise FOLDER` is killed (SIGKILL) four times, after random shares of the recordings: its main process, all of
its processes, one of its workers and after that all processes (--jobs 2), and on a Dask cluster one of the workers and
after that the main process. At the end every good recording must be denoised, none of them twice according to the
journal, with the same bytes as in a run that nothing disturbed, and no temporary file may be left. Then other
recordings are denoised with one job and with two, to measure files per minute.
"""

import collections
import contextlib
import filecmp
import json
import os
import random
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

SECONDS = 0.5  # length of a recording
_ON_CLUSTER = "a worker of the cluster, then the main process"
KILLS = ("the main process", "all processes", "a worker, then all processes", _ON_CLUSTER)
PER_FOLDER = 500  # recordings in a subfolder
_SILENT: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def main(arguments: list[str]) -> int:
    parser = options("folder", __doc__ or "")
    parser.add_argument("--files", type=int, default=10_000, help="number of recordings (default %(default)s)")
    parser.add_argument("--corrupt", type=float, default=0.01, help="fraction that is corrupt (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills (default %(default)s)")
    parser.add_argument("--timed", type=int, default=1000, help="recordings for the rates (default %(default)s)")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="numbers of jobs to time (default 1 2)")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        model = model_file(folder / "model.safetensors")
        bad = make_recordings(folder / "in", args.files, args.corrupt)
        killed = _killed_and_resumed(folder, model, args.files, bad, random.Random(args.seed))
        rates = [_rate(folder, model, jobs, args.timed) for jobs in args.jobs]
    claims = {
        "every good recording is denoised, complete and finite": killed["good_missing"] == 0,
        "every corrupt recording, and no other, is logged as failed": killed["failed"] == len(bad),
        "no recording is denoised twice": killed["done_twice"] == 0,
        "every output has the bytes of an undisturbed run, and there are no others": killed["different"] == 0,
        "no temporary file is left": killed["left"] == 0,
        f"the run was killed {len(KILLS)} times before its end": killed["kills"] == len(KILLS),
    }
    report = {"rows": [killed, *rates], "claims": claims}
    kills = ", ".join(
        f"{kill} at {share:.0%}" for kill, share in zip(killed["order"], killed["killed_at"], strict=True)
    )
    lines = [
        f"{args.files} recordings of {SECONDS} s, {len(bad)} of them corrupt in one of {len(_CORRUPT)} ways, with "
        f"--jobs 2 or on a cluster of two workers. Killed and started again each time: {kills}. {killed['done']} "
        f"recordings are done, {killed['done_twice']} of them twice, and {killed['failed']} failed. "
        f"{killed['begun_again']} recordings that were in progress when the run was killed were started again.",
        "",
        "| jobs | files | files per minute | including the start of the processes |",
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


# The ways to corrupt a recording, used in turn. Each must make denoising fail.
_CORRUPT = (
    _cut,
    _random,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_text("these are no samples\n" * 100),
    _with_nan,
)


def make_recordings(folder: Path, count: int, corrupt: float) -> set[str]:
    """Write the recordings; return the names of the corrupt ones."""
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
            say(f"wrote {number} of {count} recordings")
    return bad


def _command(model: Path, source: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "partae_fast", "denoise", str(model), str(source), "--out", str(out), "-q", *options]


def _killed_and_resumed(folder: Path, model: Path, count: int, bad: set[str], chance: random.Random) -> dict[str, Any]:
    source, out, undisturbed = folder / "in", folder / "out", folder / "undisturbed"
    command, kills, killed_at = _command(model, source, out, "--jobs", "2"), 0, []
    shares, order = sorted(chance.uniform(0.05, 0.9) for _ in KILLS), chance.sample(KILLS, len(KILLS))
    for number, (share, kill) in enumerate(zip(shares, order, strict=True), 1):
        # A run always gets some way before it is killed.
        kill_at = min(max(round(share * count), _done(out) + count // 50), count - 1)
        say(f"start {number}: kill {kill} after {kill_at} recordings")
        if kill == _ON_CLUSTER:
            kills += _killed_on_cluster(_command(model, source, out), out, kill_at)
        else:
            kills += _killed(command, kill, out, kill_at)
        killed_at.append(_done(out) / count)
        time.sleep(2)  # the workers notice that the main process has ended
    say("last start")
    code = subprocess.run(command, **_SILENT).returncode
    say("the undisturbed run")
    subprocess.run(_command(model, source, undisturbed), **_SILENT)
    lines = _lines(out)
    done = collections.Counter(line["output"] for line in lines if line["event"] == "done")
    started = collections.Counter(line["output"] for line in lines if line["event"] == "begun")
    last = {line["output"]: line["event"] for line in lines if "output" in line}
    names = _names(source) - bad
    equal = filecmp.cmpfiles(out, undisturbed, sorted(names | _names(out) | _names(undisturbed)), shallow=False)[0]
    return {
        "op": "killed and resumed",
        "files": count,
        "corrupt": len(bad),
        "exit_code": code,
        "kills": kills,
        "order": order,
        "killed_at": killed_at,
        "done": len(done),
        "done_twice": sum(times > 1 for times in done.values()),
        "begun_again": sum(times > 1 for name, times in started.items() if name not in bad),
        "failed": len({name for name, event in last.items() if event != "done"} & bad)
        + sum(event != "done" for name, event in last.items() if name not in bad),
        "good_missing": sum(not _whole(source, out, name) for name in names),
        "different": len(names ^ set(equal)),
        "left": sum(1 for path in out.rglob(".*")),
    }


def _killed(command: list[str], kill: str, out: Path, kill_at: int) -> bool:
    """Kill a run with --jobs after `kill_at` recordings; return whether it was still running."""
    process = subprocess.Popen(command, **_SILENT, start_new_session=True)
    running = _wait_for(process, out, kill_at)
    if kill.startswith("a worker"):
        with contextlib.suppress(IndexError, ProcessLookupError):
            os.kill(_workers(process.pid)[0], signal.SIGKILL)
        time.sleep(5)
    with contextlib.suppress(ProcessLookupError):
        (os.kill if kill == "the main process" else os.killpg)(process.pid, signal.SIGKILL)
    process.wait()
    return running


def _killed_on_cluster(command: list[str], out: Path, kill_at: int) -> bool:
    """Kill a worker of a cluster during a run, and then the run; return whether both were still running."""
    from distributed import LocalCluster  # pyright: ignore[reportMissingImports]

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        process = subprocess.Popen([*command, "--scheduler", cluster.scheduler_address], **_SILENT)
        running = _wait_for(process, out, kill_at)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        time.sleep(1)
        running &= process.poll() is None
        process.kill()
        process.wait()
        return running


def _wait_for(process: "subprocess.Popen[bytes]", out: Path, done: int) -> bool:
    """Wait until so many recordings are done; return whether the process is still running then."""
    while process.poll() is None and _done(out) < done:
        time.sleep(0.05)
    return process.poll() is None


def _names(source: Path) -> set[str]:
    return {str(path.relative_to(source)) for path in source.rglob("*.wav")}


def _whole(source: Path, out: Path, name: str) -> bool:
    """Return whether the result is as long as its recording and can be read, which fails for NaN."""
    try:
        return len(read(out / name)[0]) == len(read(source / name)[0])
    except ValueError:
        return False


def _lines(out: Path) -> list[dict[str, Any]]:
    """Return the entries of the journal; lines that a kill left incomplete are skipped."""
    entries = []
    with contextlib.suppress(FileNotFoundError):
        for line in (out / NAME).read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entries.append(json.loads(line))
    return entries


def _done(out: Path) -> int:
    """Return the number of recordings that are done; parsing the journal would slow down the run."""
    try:
        return (out / NAME).read_bytes().count(b'"event": "done"')
    except FileNotFoundError:
        return 0


def _workers(process: int) -> list[int]:
    """Return the process ids of the workers of a process."""
    listing = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listing.splitlines() if "spawn_main" in line]


def _rate(folder: Path, model: Path, jobs: int, count: int) -> dict[str, Any]:
    """Return the files per minute from the first result to the last, and of the whole command."""
    part, out = folder / "timed", folder / f"timed {jobs}"
    if not part.exists():
        make_recordings(part, count, 0)
    say(f"{count} recordings with --jobs {jobs}")
    start = time.monotonic()
    subprocess.run(_command(model, part, out, "--jobs", str(jobs)), check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    times = [datetime.fromisoformat(line["time"]) for line in _lines(out) if line["event"] == "done"]
    assert len(times) == count
    shutil.rmtree(out)
    between_results = (times[-1] - times[0]).total_seconds()
    return {
        "op": "rate",
        "jobs": jobs,
        "files": count,
        "seconds": seconds,
        "files_per_minute": 60 * (count - 1) / between_results,
        "files_per_minute_in_all": 60 * count / seconds,
    }
