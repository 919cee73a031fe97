"""Show how labels divide recordings into signal, noise-only and unknown time.

Run this before training. It prints the seconds of each kind in every recording, the number, total duration and meaning
of every label, and warnings about likely mistakes. Only the headers of the recordings are read.

Recordings are given with --recordings; folders are searched with all their subfolders. Without it, the recordings are
those that the label files name, or that have the same name as a label file. They are looked up at the path in the label
file and in the label file's folder.

examples:
  partae labels spinetail.audacity.txt --recordings spinetail.flac
  partae labels labels.csv --recordings june/ --figure labels.png
  partae labels dawn.selections.txt --signal-labels EATO,WOTH --noise-labels rain --guard 0.2 --json
"""

import argparse
import itertools
import os
from pathlib import Path, PurePosixPath

from ..atomic import check_writable
from ..audio.files import require_file
from ..audio.folders import SUFFIXES
from ..errors import UserError
from ..labels import read_labels
from ..labels.matching import composed
from ..labels.summary import LabelSummary, summarise
from .options import add_json, add_label_rules, label_rules_of, print_json

_UNNAMED = "(none)"
_PICTURES = (".png", ".pdf", ".svg")
_CONVERTED = (".wav", ".WAV", ".flac")  # suffixes of recordings that were converted after they were labelled


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("labels", nargs="+", metavar="FILE", help="label files: Audacity, Raven, CSV, BirdNET and more")
    parser.add_argument(
        "--recordings", nargs="+", metavar="FILE_OR_FOLDER", help="the labelled recordings (default: see below)"
    )
    parser.add_argument("--figure", metavar="PICTURE", help="plot the timelines to a .png, .pdf or .svg file")
    add_label_rules(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.figure:
        _check_picture(args.figure)
    rules = label_rules_of(args)
    if args.recordings:
        recordings = _recordings_in(args.recordings)
    else:
        recordings = _recordings_named_by(args.labels, rules.label_format)
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
        raise UserError(f"{path}: a picture cannot be of that kind; use a name that ends in {', '.join(_PICTURES)}")
    check_writable(path, overwrite=True)


def _recordings_in(paths: list[str]) -> list[Path]:
    """Return the files, and all recordings in the folders and their subfolders."""
    recordings: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            recordings.append(require_file(path))
            continue
        in_folder = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not in_folder:
            raise UserError(f"{path}: no recordings there; audio files end in .wav, .flac ...")
        recordings += in_folder
    return list(dict.fromkeys(recordings))


def _recordings_named_by(label_files: list[str], format: str | None) -> list[Path]:
    """Return the existing recordings that label files name.

    A label file without names stands for the recording of the same name.
    """
    recordings: list[Path] = []
    for path in map(Path, label_files):
        names = {row.recording for row in read_labels(path, format).rows}
        if names <= {None}:
            in_folder = path.parent.iterdir()
            recordings += sorted(
                p for p in in_folder if p.suffix.lower() in SUFFIXES and path.name.startswith(p.stem + ".")
            )
        for name in sorted(str(name) for name in names - {None}):
            pure = PurePosixPath(name.replace("\\", "/"))
            candidates = [Path(pure), path.parent / pure, path.parent / pure.name]
            candidates += [path.parent / f"{stem}{suffix}" for stem in (pure.name, pure.stem) for suffix in _CONVERTED]
            existing = (found for candidate in candidates if (found := _existing(candidate)))
            recordings += [*itertools.islice(existing, 1)]
    return list(dict.fromkeys(recordings))


def _existing(path: Path) -> Path | None:
    """Return the file with this name, whose characters may be composed in one and decomposed in the other, or None."""
    # os.path.isfile, as Path.is_file raises for a name that no file can have.
    if os.path.isfile(path):
        return path
    if path.name.isascii() or not os.path.isdir(path.parent):
        return None
    return next((p for p in path.parent.iterdir() if composed(p.name) == composed(path.name) and p.is_file()), None)


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
        _print_times(f"{'total':<{width}}", totals, f"{sum(len(part.events) for part in summary.recordings):>8}")
    if summary.labels:
        names = [" ".join(label.label.split()) or _UNNAMED for label in summary.labels]
        name_width = max(len(_UNNAMED), *map(len, names))
        print(f"\n{'label':<{name_width}}  {'events':>9}{'seconds':>10}  counts as")
        for name, label in zip(names, summary.labels, strict=True):
            seconds = "" if label.seconds is None else f"{label.seconds:.2f}"
            print(f"{name:<{name_width}}  {label.events:>9}{seconds:>10}  {label.counts_as}")
    for warning in summary.warnings:
        print(f"\nwarning: {warning}")


def _print_times(name: str, times: list[float], events: str) -> None:
    seconds, signal, noise, unknown = times
    print(f"{name}  {seconds:>9.2f}{signal:>10.2f}{noise:>12.2f}{unknown:>10.2f}{events}")
