"""Group the recordings of a corpus by source: by speaker, or by kind of noise."""

import csv
from collections.abc import Iterable
from pathlib import Path

from ..audio.files import PathLike
from ..audio.folders import recordings_in
from ..errors import UserError

Sources = dict[str, list[Path]]

_URBAN_TABLE = Path("metadata") / "UrbanSound8K.csv"


def sources_in(folder: PathLike, folds: Iterable[int] | None = None) -> Sources:
    """Return the recordings of each source in a folder, by the source's name.

    Supported layouts:
        UrbanSound8K    audio/foldN/*.wav and metadata/UrbanSound8K.csv, the table of classes; a source is a class.
                        `folds` selects the folds.
        LibriSpeech     SPEAKER/CHAPTER/*.flac, at any depth in `folder`; a source is a speaker.
        other           one folder, with or without subfolders, for each source; each file outside these folders is a
                        source of its own, named after the file.

    Raises UserError if there are no recordings, if the table differs from the published one or lists missing files, and
    if `folds` is set for a layout without folds.
    """
    top = Path(folder)
    if not top.is_dir():
        raise UserError(f"{folder}: no such folder; name one with a folder for each source")
    if (top / _URBAN_TABLE).is_file():
        return _urban_sources(top, folds)
    if folds is not None:
        raise UserError(f"{folder}: has no {_URBAN_TABLE}, so its files have no folds; leave folds out")
    files = recordings_in(top)
    if speakers := _libri_speakers(files):
        return speakers
    sources: Sources = {}
    for path in files:
        parts = path.relative_to(top).parts
        sources.setdefault(parts[0] if len(parts) > 1 else path.stem, []).append(path)
    return sources


def _libri_speakers(files: list[Path]) -> Sources | None:
    """Return the files of each speaker if all have the path SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE, else None."""
    sources: Sources = {}
    for path in files:
        speaker, chapter = path.parts[-3:-1] if len(path.parts) > 2 else ("", "")
        if not (speaker.isdigit() and path.name.startswith(f"{speaker}-{chapter}-")):
            return None
        sources.setdefault(speaker, []).append(path)
    return sources


def _urban_sources(top: Path, folds: Iterable[int] | None) -> Sources:
    selected = None if folds is None else set(folds)
    sources: Sources = {}
    table = top / _URBAN_TABLE
    with open(table, newline="", encoding="utf-8", errors="replace") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                name, fold, label = row["slice_file_name"], int(row["fold"]), row["class"]
            except (KeyError, TypeError, ValueError):
                raise UserError(
                    f"{table}: line {number} has no slice_file_name, fold and class; use the published table"
                ) from None
            if selected is not None and fold not in selected:
                continue
            path = top / "audio" / f"fold{fold}" / name
            if not path.is_file():
                raise UserError(f"{path}: is in the table but does not exist; download it, or remove it from the table")
            sources.setdefault(label, []).append(path)
    if not sources:
        raise UserError(f"{table}: lists no file of the selected folds; choose from folds 1 to 10")
    return sources
