"""Shared functions of the measurements at scale: memory of a process, test recordings, and the report."""

import argparse
import json
import re
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from partae_fast.atomic import atomic_path
from partae_fast.audio.files import writing
from partae_fast.models import save

from .. import bench_denoise
from ..timing import environment

RATE = bench_denoise.RATE
TILE_MINUTES = 10  # after which a recording repeats
RESULTS = Path(__file__).resolve().parents[1] / "results" / "scale"


def options(name: str, summary: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all measurements have."""
    parser = argparse.ArgumentParser(prog=f"python -m partae_fast.bench.scale {name}", description=summary)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for NAME.json and NAME.md")
    parser.add_argument("--work", type=Path, help="folder for temporary recordings (default: the system's)")
    return parser


def resident(peak: bool = False) -> int:
    """Return the resident memory of this process in bytes, or its peak."""
    try:
        entry = re.search(
            rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE
        )
    except OSError:
        entry = None
    if entry:
        return 1024 * int(entry[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def model_file(path: Path) -> Path:
    """Write an untrained model of the default preset, which is as large as a trained one; return the path."""
    default = bench_denoise.models(bench_denoise.recording(bench_denoise.NOISE_SECONDS + 10))[0]
    save(default, path)
    return path


def quiet(seconds: float, seed: int = 0) -> np.ndarray:
    """Return noise with two chirps per second, (seconds * RATE,) float32, about 30 dB below full scale."""
    rng = np.random.default_rng(seed)
    audio = rng.normal(0, 0.01, round(seconds * RATE)).astype(np.float32)
    time = np.arange(RATE // 10) / RATE
    chirp = (0.05 * np.hanning(len(time)) * np.sin(2 * np.pi * (3000 + 10_000 * time) * time)).astype(np.float32)
    for start in range(0, len(audio) - len(chirp), RATE // 2):
        audio[start : start + len(chirp)] += chirp
    return audio


def record(path: Path, hours: float) -> None:
    """Write a recording of this length that repeats every ten minutes."""
    tile, left = quiet(60 * TILE_MINUTES), round(hours * 3600 * RATE)
    with writing(path, RATE, 1, left, "PCM_16") as writer:
        while left:
            writer.write(tile[:left, None])
            left -= len(tile[:left])


def say(text: str) -> None:
    print(text, flush=True)


def write(results: Path, name: str, report: dict[str, Any], title: str, lines: list[str]) -> int:
    """Write and print the report; return the exit code: 1 if one of its claims does not hold, otherwise 0."""
    env = environment()
    versions = ", ".join(f"{key} {value}" for key, value in env["versions"].items())
    head = (
        f"Measured {env['date']} at commit {env['commit']} on {env['processor']}, {env['threads']} threads, "
        f"{versions}; load {env['load']:.1f} at the end."
    )
    claims = [f"- {'holds' if holds else '**DOES NOT HOLD**'}: {claim}" for claim, holds in report["claims"].items()]
    text = "\n".join([f"# {title}", "", head, "", *lines, "", *claims]) + "\n"
    results.mkdir(parents=True, exist_ok=True)
    with atomic_path(results / f"{name}.json") as file:
        file.write_text(json.dumps({"environment": env, **report}, indent=1) + "\n")
    with atomic_path(results / f"{name}.md") as file:
        file.write_text(text)
    say(text)
    return 0 if all(report["claims"].values()) else 1
