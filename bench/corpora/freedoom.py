"""The music of Freedoom, MIDI that FluidSynth renders as drums, bass, a lead and other instruments.

    python -m partae_fast.bench.corpora.freedoom

44.1 kHz, mono; a folder for each song with drums.flac, bass.flac, vocals.flac (the lead) and other.flac. Songs without
drums or bass are left out.
"""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from partae_fast.bench.corpora import midi
from partae_fast.bench.corpora.common import Corpus, Recording, licences, main

PACKAGE = "freedoom"


def build(packages: dict[str, Path], folder: Path) -> Iterator[Recording]:
    root = packages[PACKAGE]
    licence, contents = licences(root)["*"], set()
    for archive in sorted((root / "usr/share/games/doom").glob("*.wad")):
        for name, content in _music(archive.read_bytes()):
            song = f"{archive.stem}-{name}"
            if content not in contents and midi.render(content, packages[midi.SOUND_FONT], folder / song):
                contents.add(content)
                yield from (Recording(f"{song}/{stem}.flac", stem, licence) for stem in midi.STEMS)


def _music(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the MIDI files in an archive of Doom."""
    count, directory = struct.unpack("<ii", archive[4:12])
    for number in range(count):
        start, size, name = struct.unpack_from("<ii8s", archive, directory + 16 * number)
        content = archive[start : start + size]
        if content.startswith(b"MThd"):
            yield name.rstrip(b"\0").decode().removeprefix("D_").lower(), content


CORPUS = Corpus(
    "freedoom",
    "music of a game, rendered as four stems",
    (PACKAGE, midi.SOUND_FONT),
    build,
    required=(PACKAGE, midi.SOUND_FONT),
    programs=(("fluidsynth", "fluidsynth"),),
)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
