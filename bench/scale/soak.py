"""Train and denoise many times in one process, and check that its memory does not grow.

A cycle trains a model for a few steps on a minute of audio, saves and loads it, and denoises two minutes from file to
file. The resident memory is measured after each cycle, after garbage is collected and freed memory is given back to the
system.
"""

import ctypes
import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import partae_fast as pf
from partae_fast.audio.files import write as write_audio
from partae_fast.denoising.files import denoise_file

from .common import RATE, options, quiet, resident, say, write

WARM_UP = 0.2  # fraction of the time
MOST_GROWTH = 0.02
LEAST_CYCLES = 10  # after the warm-up; with fewer, growth cannot be distinguished from chance


def main(arguments: list[str]) -> int:
    parser = options("soak", __doc__ or "")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the run (default %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="training steps in a cycle (default %(default)s)")
    args = parser.parse_args(arguments)
    samples = []
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        write_audio(folder / "song.wav", quiet(60), RATE)
        write_audio(folder / "noise.wav", quiet(30, seed=1), RATE)
        write_audio(folder / "long.wav", quiet(120, seed=2), RATE)
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < 60 * args.minutes:
            _cycle(folder, args.steps, len(samples))
            samples.append({"cycle": len(samples), "seconds": elapsed, "resident_bytes": _resident_after_cleanup()})
            say(f"{elapsed / 60:.1f} min, cycle {len(samples)}: {samples[-1]['resident_bytes'] / 1e6:.1f} MB")
    report = _evaluate(samples, 60 * args.minutes)
    lines = [
        f"{len(samples)} cycles of {args.steps} training steps and two minutes of denoised audio in {args.minutes:g} "
        f"min. The first {WARM_UP:.0%} of the time are the warm-up. The median resident memory is "
        f"{report['before_bytes'] / 1e6:.1f} MB in the first fifth after it and {report['after_bytes'] / 1e6:.1f} MB "
        f"in the last fifth: {report['growth']:+.2%}."
    ]
    return write(args.results, "soak", report, "Memory over many runs", lines)


def _cycle(folder: Path, steps: int, seed: int) -> None:
    model: Any = pf.fit([folder / "song.wav"], noise=[folder / "noise.wav"], steps=steps, seed=seed, progress=False)
    pf.save(model, folder / "model.safetensors")
    denoise_file(pf.load(folder / "model.safetensors"), folder / "long.wav", folder / "clean.wav", overwrite=True)


def _resident_after_cleanup() -> int:
    """Return the resident memory in bytes after freed memory is given back to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return resident()


def _evaluate(samples: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return the growth from the first to the last fifth of the samples after the warm-up, and the claims."""
    after = [sample for sample in samples if sample["seconds"] >= WARM_UP * seconds] or samples
    fifth = max(1, len(after) // 5)
    first, last = (
        statistics.median(sample["resident_bytes"] for sample in part) for part in (after[:fifth], after[-fifth:])
    )
    growth = last / first - 1
    claims = {
        f"memory grows by less than {MOST_GROWTH:.0%} after the warm-up": growth < MOST_GROWTH,
        f"at least {LEAST_CYCLES} cycles were measured after the warm-up": len(after) >= LEAST_CYCLES,
    }
    return {"rows": samples, "before_bytes": first, "after_bytes": last, "growth": growth, "claims": claims}
