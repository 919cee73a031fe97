"""Summarise several draws of the evaluation protocol in one table.

    python -m partae_fast.bench.quality_draws FOLDER ... --out FILE

Each folder has the protocol.csv of a draw. Filters are chosen on the other half of the same draw. Draws share
recordings, so intervals are by bootstrap over the songs, not over the mixtures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from partae_fast.evaluation import crossfit
from partae_fast.evaluation.results import read_protocol

RESAMPLES = 10_000
SYSTEMS = ("field", "filter", "field, networks alone")


def interval(values: Sequence[float], songs: Sequence[str]) -> str:
    """Return the mean of `values` and its 95 % interval, by bootstrap over songs."""
    names, number = np.unique(songs, return_inverse=True)
    sums, counts = np.bincount(number, values), np.bincount(number)
    drawn = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), (2.5, 97.5))
    return f"{np.mean(values):+.1f} [{low:+.1f}, {high:+.1f}]"


def summarise(folders: Sequence[Path]) -> str:
    """Return the table in Markdown; all draws need the same methods."""
    mixtures: list[tuple[str, dict[str, float], str]] = []  # song, score of each method, filter of the other half
    for folder in folders:
        rows = [row for row in read_protocol(folder / "protocol.csv") if row["noise_only"] == "matched"]
        halves = {row["scene"]: int(row["half"]) for row in rows}
        scores = crossfit.scores_of(rows)
        free = [name for name in crossfit.FREE if name in {row["method"] for row in rows}]
        filters = crossfit.chosen_elsewhere(scores, halves, free)
        mixtures += [(key[0].split(" in ")[0], case, filters[halves[key[0]]]) for key, case in scores.items()]
    songs, cases = [song for song, _, _ in mixtures], [case for _, case, _ in mixtures]

    def difference(name: str, other: str) -> str:
        return interval([case[name] - case[other] for case in cases], songs)

    gains = {name: np.mean([case[name] - case["input"] for case in cases]) for name in cases[0] if name != "input"}
    lines = [
        f"{len(folders)} draws, {len(cases)} mixtures of {len(set(songs))} songs; SI-SDR in the song's band in dB; "
        "means [95 % interval over songs]; matched noise-only audio.",
        "",
        "| method | gain over the input | below the input |",
        "|---|---:|---:|",
    ]
    for name in sorted(gains, key=lambda name: -gains[name]):
        below = sum(case[name] < case["input"] for case in cases)
        lines.append(f"| {name} | {difference(name, 'input')} | {below} |")
    lines += [
        "",
        "| | over noisereduce, the better mode | over the best fixed filter, chosen on the other half | far below |",
    ]
    lines.append("|---|---:|---:|---:|")
    for name in SYSTEMS:
        over_filter = interval([case[name] - case[chosen] for _, case, chosen in mixtures], songs)
        far = np.mean([case[name] < max(case[other] for other in crossfit.FREE) - crossfit.FAR for case in cases])
        lines.append(f"| {name} | {difference(name, 'noisereduce')} | {over_filter} | {100 * far:.0f} % |")
    speech = [(song, case, chosen) for song, case, chosen in mixtures if song.startswith("speech")]
    spoken = [song for song, _, _ in speech]
    for title, values in {
        "noisereduce": [case["field"] - case["noisereduce"] for _, case, _ in speech],
        "that filter": [case["field"] - case[chosen] for _, case, chosen in speech],
    }.items():
        lines += ["", f"field over {title}, {len(speech)} mixtures of speech: {interval(values, spoken)}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.write_text(summarise(args.folders))


if __name__ == "__main__":
    main()
