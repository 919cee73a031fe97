"""How much better a denoised song is: real songs in real noise at set levels, scored in band.

    python -m partae_fast.bench.quality DATA [--steps N] [--seeds N] [--json FILE]

DATA is a folder with birdsong/chiffchaff.flac, noise/cafe.flac and noise/crowd_01.flac to crowd_09.flac. The model
sees the mixture and noise-only audio that is not in it; the clean song only scores.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np

import partae_fast as pf
from partae_fast.audio.files import read
from partae_fast.audio.resample import resample
from partae_fast.metrics import band, si_sdr
from partae_fast.training.presets import PRESETS

from .timing import environment

BAND = 1700.0, 7200.0  # Hz, the preset's
LEVELS = (-10.0, -5.0, 0.0, 5.0)  # dB, in band
CAFE_SHARE = 0.6  # of the café recording goes into the mixture, and shortens the song; the rest is noise-only


@dataclasses.dataclass(frozen=True)
class Scene:
    """A song, the noise that is mixed with it, and other noise of the same kind, at one rate."""

    name: str
    song: np.ndarray
    noise: np.ndarray
    noise_only: np.ndarray
    rate: int

    def mixture(self, level: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Song plus noise at `level` dB in band, the noise-only audio scaled alike, and the scale."""
        scale = _rms(band(self.song, self.rate, *BAND)) / _rms(band(self.noise, self.rate, *BAND)) / 10 ** (level / 20)
        return self.song + scale * self.noise, scale * self.noise_only, scale


def _rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(signal))))


def _read(path: Path, rate: int) -> np.ndarray:
    samples, own = read(path)
    return resample(samples[:, 0], own, rate)


def scenes(data: Path) -> list[Scene]:
    """chiffchaff in café noise and in crowd noise."""
    song, rate = read(data / "birdsong" / "chiffchaff.flac")
    song = song[:, 0]
    cafe = _read(data / "noise" / "cafe.flac", rate)
    crowd = np.concatenate([_read(data / "noise" / f"crowd_{i:02d}.flac", rate) for i in range(1, 10)])
    cut = round(CAFE_SHARE * len(cafe))
    return [
        Scene("chiffchaff, cafe", song[:cut], cafe[:cut], cafe[cut:], rate),
        Scene("chiffchaff, crowd", song, crowd[: len(song)], crowd[len(song) :], rate),
    ]


def score(scene: Scene, estimate: np.ndarray) -> float:
    """SI-SDR in band, in dB."""
    return si_sdr(band(scene.song, scene.rate, *BAND), band(estimate, scene.rate, *BAND))


def run(scene: Scene, level: float, steps: int, seed: int, preset: str) -> dict[str, object]:
    """Train on one mixture and denoise it; SI-SDR before, after, and with the model as it was before training."""
    mixture, noise_only, _ = scene.mixture(level)
    result: dict[str, object] = {"scene": scene.name, "level": level, "steps": steps, "seed": seed, "preset": preset}
    result["before"] = score(scene, mixture)
    for name, count in (("untrained", 0), ("after", steps)):
        model = pf.fit(
            [(mixture, scene.rate)], noise=[(noise_only, scene.rate)], preset=preset, steps=count, seed=seed,
            low=BAND[0], high=BAND[1], progress=False,
        )  # fmt: skip
        result[name] = score(scene, pf.denoise(mixture, scene.rate, model))
    return result


def table(rows: list[dict]) -> str:
    """Means over seeds as Markdown."""
    lines = ["| scene | input dB | denoised | untrained | gain | seeds |", "|---|---:|---:|---:|---:|---:|"]
    for scene, level in dict.fromkeys((row["scene"], row["level"]) for row in rows):
        found = [row for row in rows if (row["scene"], row["level"]) == (scene, level)]
        before, after, untrained = (np.mean([row[k] for row in found]) for k in ("before", "after", "untrained"))
        gain = after - before
        lines.append(f"| {scene} | {before:.1f} | {after:.1f} | {untrained:.1f} | {gain:+.1f} | {len(found)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="stowell2015", choices=PRESETS)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for scene in scenes(args.data):
        for level in LEVELS:
            for seed in range(args.seeds):
                rows.append(run(scene, level, args.steps, seed, args.preset))
                print(*(f"{k} {v:.1f}" if isinstance(v, float) else v for k, v in rows[-1].items()), flush=True)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")
        args.json.with_suffix(".md").write_text(table(rows) + "\n")


if __name__ == "__main__":
    main()
