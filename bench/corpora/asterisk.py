"""Announcements of telephone exchanges, read by seven voices: English, Spanish, French, Italian and Russian.

    python -m partae_fast.bench.corpora.asterisk

16 kHz, but for one French voice at 8 kHz. Tones, animals and silence are left out.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from partae_fast.bench.corpora.common import (
    SPEECH_RATE,
    Corpus,
    Recording,
    convert,
    decode,
    licence_with,
    licences,
    main,
)

# The pattern of each core package in its copyright file.
_CORE = {"en": "*", "es": "*", "fr": "fr-*", "it": "it-*", "ru": "ru-*"}
_MENARDI, _ARMELLE = "asterisk-prompt-it-menardi-wav", "asterisk-prompt-fr-armelle"
_NAMES = {_ARMELLE: "fr_FR_f_Armelle"}  # of the folders that name a language only
_FORMATS = {".g722": "g722", ".gsm": "gsm"}
_NO_SPEECH = ("silence/", "beep", "ascending-2tone", "descending-2tone", "tt-monkeys", "confbridge-join")
_NO_SPEECH += ("confbridge-leave",)


def build(packages: dict[str, Path], folder: Path) -> Iterator[Recording]:
    for package, root in packages.items():
        licence = _licence(package, root)
        for voice in sorted(path for path in (root / "usr/share/asterisk/sounds").iterdir() if path.is_dir()):
            name = _NAMES.get(package, voice.name)
            for source, readable in _readable(voice):
                relative = source.relative_to(voice)
                path = f"{name}/{'-'.join(relative.with_suffix('').parts)}.flac"
                if not str(relative).startswith(_NO_SPEECH) and convert(readable, folder / path, SPEECH_RATE):
                    yield Recording(path, name, licence)


def _licence(package: str, root: Path) -> str:
    if package == _ARMELLE:
        phrase = "Redistribution and use, with or without modification, are permitted"
        return licence_with(root, phrase, "BSD-like (copyright 2006 Michel Gutierrez)")
    return licences(root)["*" if package == _MENARDI else _CORE[package.split("-")[3]]]


def _readable(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each file in a folder with one that can be read as audio: itself, or a decoded one."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    yield from ((path, path) for path in paths if path.suffix == ".wav")
    with tempfile.TemporaryDirectory() as temporary:
        for suffix, format in _FORMATS.items():
            yield from decode([path for path in paths if path.suffix == suffix], format, Path(temporary))


CORPUS = Corpus(
    "asterisk",
    "announcements of telephone exchanges, seven voices",
    (*(f"asterisk-core-sounds-{language}-g722" for language in _CORE), _MENARDI, _ARMELLE),
    build,
    programs=(("ffmpeg", "ffmpeg"),),
)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
