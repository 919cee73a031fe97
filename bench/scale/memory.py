"""Measure the peak memory of denoising a recording of a day and one of ten minutes, from file to file.

Each recording is denoised in its own process, which reports its peak resident memory, including the libraries. Ten
minutes are also denoised in chunks of several sizes and in one piece: all samples must agree.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partae_fast.audio.files import info
from partae_fast.denoising.denoise import CHUNK, denoise_blocks
from partae_fast.denoising.files import denoise_file
from partae_fast.models import load

from .common import RATE, TILE_MINUTES, model_file, options, quiet, record, resident, say, write

MOST_RATIO, MOST_BYTES, MOST_DIFFERENCE = 1.2, 10**9, 1e-6
CHUNKS = (1, 256, 1000, CHUNK, 5 * CHUNK)


def main(arguments: list[str]) -> int:
    parser = options("memory", __doc__ or "")
    parser.add_argument("--hours", type=float, default=24.0, help="length of the long recording (default %(default)s)")
    parser.add_argument("--suffix", default=".wav", help="format of input and output (default %(default)s)")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        needed = round(args.hours * 3600 * RATE * 2 * 2)
        free = shutil.disk_usage(folder).free
        if free < 1.1 * needed:
            say(f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; choose another --work")
            return 2
        model = model_file(folder / "model.safetensors")
        rows = [
            _measure(folder, model, "ten minutes", TILE_MINUTES / 60, args.suffix),
            _measure(folder, model, "long", args.hours, args.suffix),
        ]
        differences = _differences(model)
    short, long = rows
    ratio, worst = long["peak_bytes"] / short["peak_bytes"], max(differences.values())
    claims = {
        f"the long recording takes at most {MOST_RATIO} times the memory of ten minutes": ratio <= MOST_RATIO,
        "the long recording takes less than 1 GB": long["peak_bytes"] < MOST_BYTES,
        f"every chunk size gives the samples of one piece within {MOST_DIFFERENCE:g}": worst <= MOST_DIFFERENCE,
    }
    report = {"rows": rows, "ratio": ratio, "differences": differences, "claims": claims}
    lines = [
        "| recording | hours | GB on disk | peak memory, MB | seconds | times real time |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {row['recording']} | {row['hours']:.3g} | {row['bytes'] / 1e9:.2f} | {row['peak_bytes'] / 1e6:.0f} "
            f"| {row['seconds']:.1f} | {row['times_real_time']:.0f} |"
            for row in rows
        ),
        "",
        f"The ratio of the peaks is {ratio:.3f}. A process that has only loaded the libraries and the model takes "
        f"{short['before_bytes'] / 1e6:.0f} MB.",
        "",
        "| frames in a chunk | largest difference from one piece, relative to full scale |",
        "|---:|---:|",
        *(f"| {chunk} | {difference:.1e} |" for chunk, difference in differences.items()),
    ]
    return write(args.results, "memory", report, "Memory of denoising", lines)


def _measure(folder: Path, model: Path, name: str, hours: float, suffix: str) -> dict[str, Any]:
    source, target = folder / f"{name}{suffix}", folder / f"{name} denoised{suffix}"
    say(f"{name}: writing {hours:.3g} h")
    record(source, hours)
    code = f"from partae_fast.bench.scale.memory import child; child({str(model)!r}, {str(source)!r}, {str(target)!r})"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    answer: dict[str, Any] = {}
    for line in child.stdout:
        answer = json.loads(line)
        say(f"{name}: {100 * answer['share']:.0f} %, {answer['resident_bytes'] / 1e6:.0f} MB resident")
    if child.wait() != 0 or "peak_bytes" not in answer:
        raise RuntimeError(f"{name}: denoising ended with exit code {child.returncode}")
    before, after = info(source), info(target)
    assert (before.frames, before.rate) == (after.frames, after.rate)
    size = source.stat().st_size
    for path in (source, target):
        path.unlink()
    times = hours * 3600 / answer["seconds"]
    return {"recording": name, "hours": hours, "bytes": size, "times_real_time": times, **answer}


def child(model: str, source: str, target: str) -> None:
    """Denoise a file, and print the progress and the resident memory; at the end print the peak memory.

    `_measure` calls this in a new process.
    """
    separator = load(model)
    start = last = time.monotonic()
    before = resident()

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            say(json.dumps({"share": share, "resident_bytes": resident()}))

    denoise_file(separator, source, target, progress_callback=report)
    seconds = time.monotonic() - start
    result = {"share": 1.0, "resident_bytes": resident(), "before_bytes": before}
    say(json.dumps({**result, "peak_bytes": resident(peak=True), "seconds": seconds}))


def _differences(model: Path) -> dict[str, float]:
    """Return the largest difference between denoising in chunks and in one piece, by the size of a chunk."""
    separator, audio = load(model), quiet(60 * TILE_MINUTES)[:, None]
    say("ten minutes in one piece")
    # One block of input and a chunk of its length, so that one thread processes the whole recording.
    whole = np.concatenate(list(denoise_blocks([audio], RATE, 1, separator, chunk=len(audio))))
    differences = {}
    for chunk in CHUNKS:
        pieces = (audio[start : start + 10_007] for start in range(0, len(audio), 10_007))
        if chunk == 1:  # one pool window at a time is slow, so only the beginning is denoised
            pieces = (audio[start : start + 10_007] for start in range(0, 20 * RATE, 10_007))
        chunked = np.concatenate(list(denoise_blocks(pieces, RATE, 1, separator, chunk=chunk)))
        # The last second of the beginning lacks the audio that follows it, and so is not compared.
        compared = len(chunked) if chunk != 1 else len(chunked) - RATE
        difference = float(np.abs(chunked[:compared] - whole[:compared]).max())
        differences[str(chunk)] = difference
        say(f"{chunk} frames in a chunk, {torch.get_num_threads()} threads: differs by {difference:.1e}")
    return differences
