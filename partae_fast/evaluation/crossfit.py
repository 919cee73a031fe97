"""Summary of the protocol's rows: choices on one half are reported on the other, with intervals over scenes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .audible import SPEECH
from .evaluate import FILTERS, Row
from .protocol import OFF
from .summary import bootstrap

FREE = ("wiener", "gate", *FILTERS)  # filters that use only the noise's mean spectrum
FAR = 1.0  # dB; a larger loss against the best filter of a case counts as far below
_NOISEREDUCE = "noisereduce"

Key = tuple[str, float, str]  # scene, level, noise-only audio
Scores = dict[Key, dict[str, float]]  # for each case, the score of each method


def scores_of(rows: Iterable[Row], score: str = "si_sdr") -> Scores:
    """Return a score of each case and method, averaged over seeds; rows without the score are left out."""
    collected: dict[Key, dict[str, list[float]]] = {}
    for row in rows:
        value = float(row[score]) if row.get(score) not in (None, "") else np.nan
        if np.isfinite(value):
            case = (row["scene"], float(row["level"]), row["noise_only"])
            collected.setdefault(case, {}).setdefault(row["method"], []).append(value)
    return {key: {name: float(np.mean(v)) for name, v in case.items()} for key, case in collected.items()}


def chosen_elsewhere(scores: Scores, halves: dict[str, int], candidates: Sequence[str]) -> dict[int, str]:
    """Return for each half the candidate with the highest mean over matched cases of the other half."""
    best = {}
    for half in (0, 1):
        cases = [case for key, case in scores.items() if halves[key[0]] != half and key[2] == "matched"]
        best[half] = max(candidates, key=lambda name: float(np.mean([case[name] for case in cases])))
    return best


def summarise(rows: Sequence[Row], systems: Sequence[str]) -> dict[str, Any]:
    """Return the summary of the protocol's rows.

    Means have the ends of their 95 % interval over scenes: mean, low, high.

    Returns:
        cases, scenes: their numbers.
        filters: for each half, the filter that is best on the other half.
        methods: for each method, the mean gain over the input in matched cases, and the number of cases below their
            input.
        speech: for each method, the mean gain over the input in matched cases of speech; empty if there are none.
        systems: for each system, by name:
            noisereduce, filter, speech_noisereduce, speech_filter: mean difference in matched cases
            far_below: share of matched cases more than 1 dB below the best filter of the case
            off: for each kind of mismatched noise-only audio, the mean loss, and the number of cases below their input
            spread: mean range over seeds
            seconds: mean and maximum
            worst: scene, level and difference from the filter, for the five worst cases
        audible: for `stoi`, `contrast` and `onset`, the mean of each method over the cases that have the score.
    """
    scores, halves = scores_of(rows), {row["scene"]: int(row["half"]) for row in rows}
    matched = {key: case for key, case in scores.items() if key[2] == "matched"}
    methods = [name for name in dict.fromkeys(row["method"] for row in rows) if name != "input"]
    free = [name for name in FREE if name in methods]
    filters = chosen_elsewhere(scores, halves, free) if free else {}
    kinds = {row["scene"]: row["kind"] for row in rows}
    speech = {key: case for key, case in matched.items() if kinds[key[0]].startswith(SPEECH)}

    def than_filter(cases: Scores, name: str) -> list[Any]:
        return _mean({key: case[name] - case[filters[halves[key[0]]]] for key, case in cases.items()})

    def than(cases: Scores, name: str, other: str) -> list[Any]:
        return _mean({key: case[name] - case[other] for key, case in cases.items()})

    summary: dict[str, Any] = {
        "cases": len(scores),
        "scenes": len({key[0] for key in scores}),
        "filters": filters,
        "methods": {
            name: [*than(matched, name, "input"), sum(case[name] < case["input"] for case in matched.values())]
            for name in methods
        },
        "speech": {name: than(speech, name, "input")[0] for name in methods} if speech else {},
        "systems": {},
        "audible": {
            score: _means(scores_of([row for row in rows if row["noise_only"] == "matched"], score))
            for score in ("stoi", "contrast", "onset")
        },
    }
    for name in systems:
        entry: dict[str, Any] = {"off": _off(scores, name), "spread": _spread(rows, name), **_seconds(rows, name)}
        if free:
            behind = {key: case[name] - max(case[other] for other in free) for key, case in matched.items()}
            gains = {key: case[name] - case[filters[halves[key[0]]]] for key, case in matched.items()}
            entry["far_below"] = float(np.mean([value < -FAR for value in behind.values()]))
            entry["filter"], entry["speech_filter"] = than_filter(matched, name), than_filter(speech, name)
            entry["worst"] = [[*key[:2], gains[key]] for key in sorted(gains, key=lambda key: gains[key])[:5]]
        if _NOISEREDUCE in methods:
            entry[_NOISEREDUCE] = than(matched, name, _NOISEREDUCE)
            entry["speech_noisereduce"] = than(speech, name, _NOISEREDUCE)
        summary["systems"][name] = entry
    return summary


def _off(scores: Scores, name: str) -> dict[str, list[Any]]:
    """Return the loss by mismatched noise-only audio, over the mixtures that also have matched audio."""
    lost = {}
    for kind in OFF:
        pairs = {key: (case, scores[*key[:2], "matched"]) for key, case in scores.items() if key[2] == kind}
        if pairs:
            cost = _mean({key: matched[name] - case[name] for key, (case, matched) in pairs.items()})
            lost[kind] = [*cost, sum(case[name] < case["input"] for case, _ in pairs.values())]
    return lost


def _spread(rows: Iterable[Row], name: str) -> float | None:
    """Return the mean range over seeds, in cases with several seeds; None if there are none."""
    seeds: dict[Key, list[float]] = {}
    for row in rows:
        if row["method"] == name:
            seeds.setdefault((row["scene"], float(row["level"]), row["noise_only"]), []).append(float(row["si_sdr"]))
    ranges = [max(values) - min(values) for values in seeds.values() if len(values) > 1]
    return float(np.mean(ranges)) if ranges else None


def _seconds(rows: Iterable[Row], name: str) -> dict[str, list[float]]:
    seconds = [float(row["seconds"]) for row in rows if row["method"] == name]
    return {"seconds": [float(np.mean(seconds)), float(np.max(seconds))]}


def _means(scores: Scores) -> dict[str, float]:
    names = dict.fromkeys(name for case in scores.values() for name in case)
    return {name: float(np.mean([case[name] for case in scores.values() if name in case])) for name in names}


def _mean(values: dict[Key, float]) -> list[Any]:
    """Return the mean over cases, and the ends of its interval over scenes."""
    if not values:
        return [None, None, None]
    scenes: dict[str, list[float]] = {}
    for key, value in values.items():
        scenes.setdefault(key[0], []).append(value)
    means = np.array([np.mean(each) for each in scenes.values()], np.float64)
    return [float(np.mean(list(values.values()))), *bootstrap(means)]


def markdown(summary: dict[str, Any]) -> str:
    """Return the summary as tables in Markdown."""
    lines = [
        f"{summary['scenes']} scenes, {summary['cases']} mixtures; SI-SDR in the song's band in dB; means [95 % "
        "interval over scenes]; with matched noise-only audio, except where noted.",
        "",
    ]
    if summary["filters"]:
        names = " and ".join(f"{name} for half {half}" for half, name in summary["filters"].items())
        lines += [f"The best fixed filter, chosen on the other half: {names}.", ""]
    lines += ["| method | gain over the input | of speech | below the input |", "|---|---:|---:|---:|"]
    for name, (mean, low, high, below) in _by_gain(summary):
        speech = _interval([summary["speech"].get(name), None, None])
        lines.append(f"| {name} | {_interval([mean, low, high])} | {speech} | {below} |")
    systems = summary["systems"]
    lines += ["", f"| | {' | '.join(systems)} |", "|---|" + "---:|" * len(systems)]
    titles = {
        "noisereduce": "over noisereduce, the better mode by hindsight",
        "filter": "over the best fixed filter, chosen on the other half",
        "speech_noisereduce": "speech: over noisereduce",
        "speech_filter": "speech: over that filter",
    }
    for key, title in titles.items():
        if all(key in entry for entry in systems.values()):
            lines.append(f"| {title} | {' | '.join(_interval(entry[key]) for entry in systems.values())} |")
    if all("far_below" in entry for entry in systems.values()):
        shares = " | ".join(f"{100 * entry['far_below']:.0f} %" for entry in systems.values())
        lines.append(f"| more than {FAR:g} dB below the best filter by hindsight | {shares} |")
    for kind in OFF:
        cells = [
            f"{_interval(entry['off'][kind][:3])}; {entry['off'][kind][3]} below the input"
            if kind in entry["off"]
            else "-"
            for entry in systems.values()
        ]
        lines.append(f"| loss if the noise-only audio is {_OFF_TITLES[kind]} | {' | '.join(cells)} |")
    spreads = ("-" if entry["spread"] is None else f"{entry['spread']:.2f}" for entry in systems.values())
    lines.append(f"| range over seeds | {' | '.join(spreads)} |")
    times = (f"{entry['seconds'][0]:.1f}; {entry['seconds'][1]:.1f}" for entry in systems.values())
    lines.append(f"| seconds to train and denoise: mean; maximum | {' | '.join(times)} |")
    audible = summary["audible"]
    names = list(summary["methods"])
    lines += ["", "| method | STOI of speech | contrast, dB | onset error, s |", "|---|---:|---:|---:|"]
    for name in ("input", *names):
        cells = [f"{audible[score][name]:.3f}" if name in audible[score] else "-" for score in audible]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, entry in systems.items():
        if "worst" in entry:
            worst = "; ".join(f"{scene} at {level:g} dB by {-by:.1f}" for scene, level, by in entry["worst"] if by < 0)
            lines += ["", f"- {name} is farthest below that filter in: {worst or 'none'}"]
    return "\n".join(lines) + "\n"


_OFF_TITLES = {"louder": "6 dB too loud", "quieter": "6 dB too quiet", "other": "from another recording of the kind"}


def _by_gain(summary: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    return sorted(summary["methods"].items(), key=lambda item: -item[1][0])


def _interval(value: Sequence[float | None]) -> str:
    mean, low, high = value
    if mean is None:
        return "-"
    return f"{mean:+.1f}" + ("" if low is None else f" [{low:+.1f}, {high:+.1f}]")
