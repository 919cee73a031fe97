"""Folders of recordings by source: which speaker, or which kind of noise, each file is of."""

import csv
from collections.abc import Iterable
from pathlib import Path

from ..audio.files import PathLike
from ..audio.folders import recordings_in
from ..errors import UserError

Sources = dict[str, list[Path]]

_URBAN_TABLE = Path("metadata") / "UrbanSound8K.csv"


def sources_in(folder: PathLike, folds: Iterable[int] | None = None) -> Sources:
    """The recordings of each source in a folder, by the source's name, in order.

    Known layouts:
        UrbanSound8K    audio/foldN/*.wav, and metadata/UrbanSound8K.csv, which says of which class each file is; a
                        source is a class. `folds` takes the files of these folds alone.
        LibriSpeech     SPEAKER/CHAPTER/*.flac, in any depth below `folder`; a source is a speaker.
        plain           a folder for each source, with folders in it or none; files beside them, or a folder of files
                        alone, are a source each, by their name without suffix.

    Raises UserError where there is no recording, where the table is not as published or names files that are not there,
    and where `folds` are asked of another layout.
    """
    top = Path(folder)
    if not top.is_dir():
        raise UserError(f"{folder}: no such folder; name one with a folder for each source")
    if (top / _URBAN_TABLE).is_file():
        return _urban(top, folds)
    if folds is not None:
        raise UserError(f"{folder}: has no {_URBAN_TABLE}, so its files have no folds; leave folds out")
    files = recordings_in(top)
    if speakers := _libri(files):
        return speakers
    found: Sources = {}
    for path in files:
        inside = path.relative_to(top).parts
        found.setdefault(inside[0] if len(inside) > 1 else path.stem, []).append(path)
    return found


def _libri(files: list[Path]) -> Sources | None:
    """Files by speaker where every one is named SPEAKER-CHAPTER-UTTERANCE in SPEAKER/CHAPTER; None elsewhere."""
    found: Sources = {}
    for path in files:
        speaker, chapter = path.parts[-3:-1] if len(path.parts) > 2 else ("", "")
        if not (speaker.isdigit() and path.name.startswith(f"{speaker}-{chapter}-")):
            return None
        found.setdefault(speaker, []).append(path)
    return found


def _urban(top: Path, folds: Iterable[int] | None) -> Sources:
    wanted = None if folds is None else set(folds)
    found: Sources = {}
    table = top / _URBAN_TABLE
    with open(table, newline="", encoding="utf-8", errors="replace") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                name, fold, kind = row["slice_file_name"], int(row["fold"]), row["class"]
            except (KeyError, TypeError, ValueError):
                raise UserError(
                    f"{table}: line {number} has no slice_file_name, fold and class; take the table as published"
                ) from None
            if wanted is not None and fold not in wanted:
                continue
            path = top / "audio" / f"fold{fold}" / name
            if not path.is_file():
                raise UserError(f"{path}: is in the table and not there; complete the data set, or shorten the table")
            found.setdefault(kind, []).append(path)
    if not found:
        raise UserError(f"{table}: lists no file of the folds asked for; there are folds 1 to 10")
    return found
