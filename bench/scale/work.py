"""Measure time against work: hours to denoise, files in a folder, and gigabytes of recordings to train on.

Each point is a whole command in its own process, from the start of Python to its end. A line is fitted to each curve:
the time that a command takes whatever its work, and the time per unit of work. The work at which the first is a tenth
of the second is where the curve becomes proportional.

Recordings for training are one recording under many names, by hard links, so that they need little space; their
spectrograms do take the space of as many recordings.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.optimize import nnls

from .common import RATE, model_file, options, quiet, record, say, write
from .folder import make_recordings

MINUTES = (1.0, 10.0, 60.0, 360.0)  # of recordings to denoise
FILES = (10, 100, 1000)  # in a folder
JOBS = (1, 2)
GIGABYTES = (0.1, 1.0, 4.0)  # of recordings for training, 16 bits a sample
HOURS = 0.5  # of each recording for training
STEPS = 100  # of a training
PROPORTIONAL = 0.1  # share of the time that does not grow with the work


def main(arguments: list[str]) -> int:
    parser = options("work", __doc__ or "")
    parser.add_argument("--minutes", type=float, nargs="*", default=MINUTES, help="to denoise (default %(default)s)")
    parser.add_argument("--files", type=int, nargs="*", default=FILES, help="in a folder (default %(default)s)")
    parser.add_argument("--jobs", type=int, nargs="*", default=JOBS, help="for folders (default %(default)s)")
    parser.add_argument(
        "--gigabytes", type=float, nargs="*", default=GIGABYTES, help="to train on (default %(default)s)"
    )
    args = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        model = model_file(folder / "model.safetensors")
        for minutes in args.minutes:
            rows.append(_denoise(folder, model, minutes))
            say(str(rows[-1]))
        for jobs in args.jobs:
            for count in args.files:
                rows.append(_folder(folder, model, count, jobs))
                say(str(rows[-1]))
        for gigabytes in args.gigabytes:
            rows += _train(folder, gigabytes)
            say(str(rows[-2:]))
    return _report(args.results, rows)


def _report(results: Path, rows: list[dict[str, Any]]) -> int:
    curves = {
        curve: _fit([row for row in rows if row["op"] == curve]) for curve in dict.fromkeys(r["op"] for r in rows)
    }
    report = {"rows": rows, "curves": curves, "claims": {}}
    lines = [
        "| curve | work | seconds | peak memory, MB |",
        "|---|---:|---:|---:|",
        *(
            f"| {r['op']} | {r['work']:g} {r['unit']} | {r['seconds']:.1f} | {r['peak_bytes'] / 1e6:.0f} |"
            for r in rows
        ),
        "",
        "| curve | seconds whatever the work | seconds per unit of work | proportional from |",
        "|---|---:|---:|---:|",
        *(
            f"| {curve} | {fit['fixed']:.2f} | {fit['per_unit']:.4g} per {fit['unit']} | {fit['proportional']:.3g} "
            f"{fit['unit']} |"
            for curve, fit in curves.items()
            if fit
        ),
        "",
        f"From the last column on, the time that does not grow is at most {PROPORTIONAL:.0%} of the rest.",
    ]
    return write(results, "work", report, "Time against work", lines)


def _fit(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the fixed time and the time per unit of a curve, by least squares of relative errors.

    Neither is negative. Returns None for a single point.
    """
    if len(rows) < 2:
        return None
    work, seconds = (np.array([row[name] for row in rows]) for name in ("work", "seconds"))
    columns = np.stack([np.ones_like(work), work], axis=1) / seconds[:, None]
    fixed, per_unit = map(float, nnls(columns, np.ones(len(rows)))[0])
    proportional = fixed / (PROPORTIONAL * per_unit) if per_unit else float("inf")
    return {"fixed": fixed, "per_unit": per_unit, "proportional": proportional, "unit": rows[0]["unit"]}


def _denoise(folder: Path, model: Path, minutes: float) -> dict[str, Any]:
    source, out = folder / "long.wav", folder / "out.wav"
    record(source, minutes / 60)
    result = _timed("denoise", str(model), str(source), "--out", str(out))
    source.unlink()
    out.unlink()
    return {"op": "denoise a recording", "work": minutes, "unit": "min", **result}


def _folder(folder: Path, model: Path, count: int, jobs: int) -> dict[str, Any]:
    source, out = folder / "in", folder / "out"
    make_recordings(source, count, 0)
    result = _timed("denoise", str(model), str(source), "--out", str(out), "--jobs", str(jobs))
    assert sum(1 for _ in out.rglob("*.wav")) == count
    shutil.rmtree(source)
    shutil.rmtree(out)
    return {"op": f"denoise a folder, --jobs {jobs}", "work": count, "unit": "files", **result}


def _train(folder: Path, gigabytes: float) -> list[dict[str, Any]]:
    """Measure the first training on recordings, which makes their spectrograms, and a second one."""
    source, cache = folder / "recordings", folder / "cache"
    source.mkdir()
    original, noise = folder / "half_hour.wav", folder / "noise.wav"
    if not original.exists():
        record(original, HOURS)
        soundfile.write(noise, quiet(30, seed=1), RATE, subtype="PCM_16")
    count = max(1, round(gigabytes * 1e9 / original.stat().st_size))
    for number in range(count):
        os.link(original, source / f"{number:05}.wav")
    work = count * original.stat().st_size / 1e9
    rows = []
    for name in ("first", "again"):
        result = _timed(
            "train",
            str(source),
            "--noise",
            str(noise),
            "--preset",
            "stowell2015",
            "--steps",
            str(STEPS),
            "--cache",
            str(cache),
            "--overwrite",
            "--out",
            str(folder / "trained.safetensors"),
        )
        rows.append({"op": f"train on recordings, {name}", "work": work, "unit": "GB", **result})
    shutil.rmtree(source)
    shutil.rmtree(cache)
    return rows


def _timed(*arguments: str) -> dict[str, Any]:
    """Run a command of partae; return its wall time, the processor time and the peak memory of its largest process."""
    code = (
        "import resource, sys, partae_fast.cli as cli; code = cli.main(sys.argv[1:]); "
        "peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]; "
        "print('peak', max(peaks)); sys.exit(code)"
    )
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-c", code, *arguments, "-q"]
    process = subprocess.run(command, capture_output=True, text=True)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit code {process.returncode}: {process.stderr.strip()[-500:]}")
    peak = int(process.stdout.rsplit("peak ", 1)[1]) * (1 if sys.platform == "darwin" else 1024)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor_seconds": busy, "peak_bytes": peak}
