"""Folders of links to the corpora, with the layouts that `partae reproduce` reads, one for each paper.

    python -m partae_fast.bench.corpora.layouts

README.md in this folder describes them. Layouts are made again from the corpora that are there.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from partae_fast.bench.corpora.common import (
    MANIFEST,
    SPEECH_RATE,
    Entry,
    add_arguments,
    read_manifest,
)

# In the first corpus a source is a person in a language, en_US_f_Allison; a person has one folder for all languages. In
# the others it is a language; both have one folder for a language, since a person may speak in both.
_BY_PERSON, _BY_LANGUAGE = ("asterisk",), ("klettres", "ktuberling")
_LEAST, _LEAST_NOISE = 20.0, 10.0  # seconds of a speaker, and of a noise of speech
_SYNTHETIC = ("pink-noise", "white-noise")
_BIRDS = "birds"  # the songs of Stowell & Turner, and no noise of speech
_DISSIMILAR = ("fireplace", "rain")  # their noises: crackling and steady, both long enough for crops of 512 frames
_SECONDS = {"kim2015": 30.0, "hetherly2018": 300.0}  # of each speaker; TIMIT has 30 s of each
_SONGS = ("freedoom", "openmsx")

Links = dict[str, Path]  # files by their paths in a layout


def make(folder: Path) -> dict[str, int]:
    """Make the layouts in the folder of the corpora; return the number of files of each."""
    corpora = {path.parent.name: read_manifest(path.parent) for path in sorted(folder.glob(f"*/{MANIFEST}"))}
    voices, noises = _voices(corpora), _grouped(corpora.get("blanket", ()))
    recorded = {kind: entries for kind, entries in noises.items() if kind not in (*_SYNTHETIC, _BIRDS)}
    speech_noises = {kind: entries for kind, entries in recorded.items() if _seconds(entries) >= _LEAST_NOISE}
    layouts: dict[str, Links] = {}
    if voices and speech_noises:
        layouts["kim2015"] = _tree(folder, "clean", voices, _SECONDS["kim2015"]) | _tree(folder, "noise", speech_noises)
        layouts["hetherly2018"] = _tree(folder, "speech", voices, _SECONDS["hetherly2018"])
        layouts["hetherly2018"] |= _tree(folder, "noise", speech_noises)
    if {_BIRDS, *_DISSIMILAR} <= noises.keys():
        layouts["stowell2015"] = _tree(folder, "", {"signal": noises[_BIRDS]})
        layouts["stowell2015"] |= _tree(folder, "", {f"noise_{kind}": noises[kind] for kind in _DISSIMILAR})
        layouts["lusterman2016"] = _tree(folder, "", {kind: noises[kind] for kind in _DISSIMILAR})
    if songs := [entry for name in _SONGS for entry in corpora.get(name, ())]:
        layouts["grais2017"] = _songs(folder, songs)
    if songs := list(corpora.get("fretsonfire", ())):
        layouts["grais2017-bands"] = _songs(folder, songs)
    for name, links in layouts.items():
        shutil.rmtree(folder / name, ignore_errors=True)
        for path, target in links.items():
            link = folder / name / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(target, link.parent))
    return {name: len(links) for name, links in layouts.items()}


def _voices(corpora: Mapping[str, Iterable[Entry]]) -> dict[str, list[Entry]]:
    """Return the recordings of each speaker or language at 16 kHz."""
    voices: dict[str, list[Entry]] = {}
    for name in (*_BY_PERSON, *_BY_LANGUAGE):
        for source, entries in _grouped(corpora.get(name, ())).items():
            speaker = source.split("_")[-1] if name in _BY_PERSON else f"language_{source.partition('@')[0]}"
            voices.setdefault(speaker, []).extend(entry for entry in entries if entry.rate >= SPEECH_RATE)
    return {name: entries for name, entries in sorted(voices.items()) if _seconds(entries) >= _LEAST}


def _grouped(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    by_source: dict[str, list[Entry]] = {}
    for entry in entries:
        by_source.setdefault(entry.source, []).append(entry)
    return by_source


def _tree(folder: Path, top: str, sources: Mapping[str, list[Entry]], seconds: float | None = None) -> Links:
    """Return a folder for each source, with at most about `seconds` of it, from files spread over all of its files."""
    links: Links = {}
    for source, entries in sources.items():
        step = 1 if seconds is None else max(1, round(_seconds(entries) / seconds))
        for entry in entries[::step]:
            links[str(Path(top, source, f"{entry.corpus}-{entry.source}-{Path(entry.file).name}"))] = (
                folder / entry.corpus / entry.file
            )
    return links


def _songs(folder: Path, entries: Iterable[Entry]) -> Links:
    """Return train/SONG/ and test/SONG/ with the files of stems: every other song, by name, is for tests."""
    by_song: dict[str, list[Entry]] = {}
    for entry in entries:
        by_song.setdefault(f"{entry.corpus}-{Path(entry.file).parent}", []).append(entry)
    return {
        str(Path("test" if number % 2 else "train", song, Path(entry.file).name)): folder / entry.corpus / entry.file
        for number, song in enumerate(sorted(by_song))
        for entry in by_song[song]
    }


def _seconds(entries: Iterable[Entry]) -> float:
    return sum(entry.seconds for entry in entries)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the folders that `partae reproduce` reads, of links.")
    add_arguments(parser, overwrite=False)
    folder = Path(parser.parse_args().folder).resolve()
    print(
        "layouts: " + (", ".join(f"{name} {count} files" for name, count in make(folder).items()) or "no corpus there")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
