"""Show what labels say of recordings, before anything is trained on them.

Of each recording: seconds of signal, of noise alone and of what is unknown; of each label how often it is given, for
how long, and what it counts as; and what looks wrong. Recordings are --recordings, files or folders with all that is in
them, or else those that the labels name, or that have the label file's name, and lie where the labels say or beside
them. Only their headers are read.

examples:
  partae labels spinetail.audacity.txt --recordings spinetail.flac
  partae labels labels.csv --recordings june/ --figure labels.png
  partae labels dawn.selections.txt --signal-labels EATO,WOTH --noise-labels rain --guard 0.2 --json
"""

import argparse
import os
from pathlib import Path, PurePosixPath

from ..atomic import check_writable
from ..audio.files import require_file
from ..audio.folders import SUFFIXES
from ..errors import UserError
from ..labels import read_labels
from ..labels.summary import LabelSummary, summarise
from .options import add_json, add_label_rules, label_rules_of, print_json

_UNNAMED = "(none)"
_PICTURES = (".png", ".pdf", ".svg")
_CONVERTED = (".wav", ".WAV", ".flac")  # to which a recording that labels name may have been converted


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("labels", nargs="+", metavar="FILE", help="labels: Audacity, Raven, CSV, BirdNET and more")
    parser.add_argument("--recordings", nargs="+", metavar="FILE_OR_FOLDER", help="what they are about")
    parser.add_argument("--figure", metavar="PICTURE", help="draw the time of each recording: .png, .pdf or .svg")
    add_label_rules(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.figure:
        _check_picture(args.figure)
    rules = label_rules_of(args)
    recordings = _listed(args.recordings) if args.recordings else _named(args.labels, rules.label_format)
    summary = summarise(args.labels, recordings, rules)
    if args.figure:
        from ..labels.figure import plot_timelines

        plot_timelines(args.figure, summary)
    if args.json:
        print_json(summary.as_json())
    else:
        _print(summary)
    return 0


def _check_picture(path: str) -> None:
    if Path(path).suffix.lower() not in _PICTURES:
        raise UserError(f"{path}: a picture cannot be of that kind; let its name end in {', '.join(_PICTURES)}")
    check_writable(path, overwrite=True)


def _listed(recordings: list[str]) -> list[Path]:
    """The files, and all recordings in the folders."""
    found: list[Path] = []
    for place in map(Path, recordings):
        if not place.is_dir():
            found.append(require_file(place))
            continue
        inside = sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise UserError(f"{place}: no recordings there; audio files end in .wav, .flac ...")
        found += inside
    return list(dict.fromkeys(found))


def _named(label_files: list[str], format: str | None) -> list[Path]:
    """The recordings that label files name or are named after, as far as they lie where they can be found."""
    found: list[Path] = []
    for path in map(Path, label_files):
        names = {row.recording for row in read_labels(path, format).rows}
        if names <= {None}:
            beside = path.parent.iterdir()
            found += sorted(p for p in beside if p.suffix.lower() in SUFFIXES and path.name.startswith(p.stem + "."))
        for name in sorted(str(name) for name in names - {None}):
            pure = PurePosixPath(name.replace("\\", "/"))
            places = [Path(pure), path.parent / pure, path.parent / pure.name]
            places += [path.parent / f"{stem}{suffix}" for stem in (pure.name, pure.stem) for suffix in _CONVERTED]
            found += [place for place in places if os.path.isfile(place)][:1]  # False for what cannot be a name
    return list(dict.fromkeys(found))


def _print(summary: LabelSummary) -> None:
    width = max([9, *(len(part.title) for part in summary.recordings)])
    if summary.recordings:
        print(f"{'recording':<{width}}  {'seconds':>9}{'signal':>10}{'noise-only':>12}{'unknown':>10}{'events':>8}")
    totals = [0.0, 0.0, 0.0, 0.0]
    for part in summary.recordings:
        times = [part.timeline.seconds, *part.seconds().values()]
        totals = [total + time for total, time in zip(totals, times, strict=True)]
        _print_times(f"{part.title:<{width}}", times, f"{len(part.events):>8}" if part.listed else "  not listed")
    if len(summary.recordings) > 1:
        _print_times(f"{'in all':<{width}}", totals, f"{sum(len(part.events) for part in summary.recordings):>8}")
    if summary.labels:
        names = [" ".join(label.label.split()) or _UNNAMED for label in summary.labels]
        wide = max(len(_UNNAMED), *map(len, names))
        print(f"\n{'label':<{wide}}  {'events':>9}{'seconds':>10}  counts as")
        for name, label in zip(names, summary.labels, strict=True):
            seconds = "" if label.seconds is None else f"{label.seconds:.2f}"
            print(f"{name:<{wide}}  {label.events:>9}{seconds:>10}  {label.counts_as}")
    for warning in summary.warnings:
        print(f"\nwarning: {warning}")


def _print_times(name: str, times: list[float], events: str) -> None:
    seconds, signal, noise, unknown = times
    print(f"{name}  {seconds:>9.2f}{signal:>10.2f}{noise:>12.2f}{unknown:>10.2f}{events}")
