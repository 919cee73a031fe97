"""Run the evaluation protocol on recordings from outside this repository.

    python -m partae_fast.bench.quality --data ../shared/data --out FOLDER

Clips with a non-commercial licence are left out. The methods `field` and `field, networks alone` share one training.
"""

import argparse
import functools
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import partae_fast as pf
from partae_fast.evaluation import crossfit, protocol
from partae_fast.evaluation.peers import Audio, Denoiser, trained
from partae_fast.evaluation.results import environment, write_protocol

SONGS = {
    "finch": [f"birdsong/bengalese_finch_{number}" for number in ("000", "101", "102", "104")],
    "warbler": ["birdsong/chiffchaff"],
    "speech-english": [
        *(f"scenes/song/speech_en_{reader}" for reader in "fm"),
        "speech/lj050_0131",
        "speech/p287_003_clean",
    ],
    "speech-other": [f"scenes/song/speech_{language}" for language in ("he", "lt")],
} | {
    name: [f"scenes/song/{name}"]
    for name in (
        "barn_swallow", "canary", "canyon_wren", "cicada", "cuckoo", "elephant", "frog_kroyeri", "goose", "hermit",
        "humpback", "wolf",
    )
}  # fmt: skip
NOISES = {
    "rain": ["scenes/noise/rain", "scenes/noise/rain_medium"],
    "water": [f"scenes/noise/{name}" for name in ("stream", "tap", "waves")],
    "cafe": ["scenes/noise/cafe", "noise/cafe"],
    "ambient": [f"noise/ambient_{number}" for number in (2, 3, 5)],
    "diffuse": ["noise/diffuse"],
    "engine": ["scenes/noise/car_engine", "scenes/noise/train"],
    "cabin": ["scenes/noise/jet_cabin"],
    "gym": ["scenes/noise/exercise_bike"],
    "insects": ["scenes/noise/night_insects"],
    "frogs": ["scenes/noise/frog_chorus"],
} | {name: [f"scenes/noise/{name}"] for name in ("storm", "wind", "city", "dishes", "fireplace", "forest")}


def lay_out(data: Path, folder: Path) -> None:
    """Link the recordings into clean/KIND and noise/KIND of a folder."""
    for place, kinds in (("clean", SONGS), ("noise", NOISES)):
        for kind, files in kinds.items():
            (folder / place / kind).mkdir(parents=True)
            for file in files:
                link = folder / place / kind / f"{Path(file).name}{'_short' if file == 'noise/cafe' else ''}.flac"
                link.symlink_to((data / f"{file}.flac").resolve())


def field_and_networks() -> dict[str, Callable[[int], Denoiser]]:
    """Return `field`, and its networks without the filter; both use one training per mixture and seed."""

    @functools.lru_cache(maxsize=1)
    def model(mixture: bytes, noise_only: bytes, rate: int, seed: int) -> Any:
        recordings = [(np.frombuffer(part, np.float32), rate) for part in (mixture, noise_only)]
        options = pf.TrainingOptions(progress=False, seed=seed)
        return pf.fit(recordings[:1], noise=recordings[1:], options=options)

    def denoiser(share: float | None, seed: int) -> Denoiser:
        def denoise(mixture: Audio, noise_only: Audio, rate: int) -> Audio:
            trained_model = model(mixture.tobytes(), noise_only.tobytes(), rate, seed)
            default_share = trained_model.share
            trained_model.share = default_share if share is None else share
            try:
                return pf.denoise(mixture, rate, trained_model)
            finally:
                trained_model.share = default_share

        return denoise

    return {"field": functools.partial(denoiser, None), "field, networks alone": functools.partial(denoiser, 0.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the recordings")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--scenes", type=int, default=48, help="number of scenes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a third of the scenes, at one level each")
    parser.add_argument("--networks", action="store_true", help="also evaluate field, which trains on every mixture")
    parser.add_argument("--peers", nargs="+", help="as for partae evaluate (default: all that are installed)")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="start no case after this time (default %(default)g)"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("partae_fast").setLevel(logging.WARNING)
    systems = {"filter": lambda seed: trained(None, "filter", seed=seed)}
    if args.networks:
        systems |= field_and_networks()
    with tempfile.TemporaryDirectory() as folder:
        lay_out(args.data, Path(folder))
        cases = list(protocol.draw(folder, args.scenes, args.seed, args.quick))
    # Cases of the two halves alternate, so that a run that ends early has as many of each.
    by_half = [[case for case in cases if case.half == half] for half in (0, 1)]
    cases = [case for pair in zip(*by_half, strict=True) for case in pair]
    args.out.mkdir(parents=True, exist_ok=True)
    started, rows = time.monotonic(), []
    for number, case in enumerate(cases, start=1):
        if time.monotonic() - started > 60 * args.minutes:
            break
        rows += protocol.run([case], systems, args.peers)
        print(f"{number} of {len(cases)}: {case.scene.name} {case.level:g} dB {case.noise_only}", flush=True)
        if {row["half"] for row in rows} == {0, 1}:
            summary = crossfit.summarise(rows, list(systems))
            settings = {"scenes": args.scenes, "seed": args.seed, "quick": args.quick}
            write_protocol(
                args.out, {"environment": environment(), "settings": settings, "summary": summary, "rows": rows}
            )


if __name__ == "__main__":
    main()
