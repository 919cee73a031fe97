"""The music of OpenTTD, MIDI that FluidSynth renders as drums, bass, a lead and other instruments.

    python -m partae_fast.bench.corpora.openmsx

44.1 kHz, mono; a folder for each song with drums.flac, bass.flac, vocals.flac (the lead) and other.flac. Songs without
drums or bass are left out.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from partae_fast.bench.corpora import midi
from partae_fast.bench.corpora.common import Corpus, Recording, licences, main

PACKAGE = "openttd-openmsx"


def build(packages: dict[str, Path], folder: Path) -> Iterator[Recording]:
    root = packages[PACKAGE]
    licence = licences(root)["*"]
    for source in sorted((root / "usr/share/games/openttd/baseset/openmsx").glob("*.mid")):
        if midi.render(source.read_bytes(), packages[midi.SOUND_FONT], folder / source.stem):
            yield from (Recording(f"{source.stem}/{stem}.flac", stem, licence) for stem in midi.STEMS)


CORPUS = Corpus(
    "openmsx",
    "music of a game, rendered as four stems",
    (PACKAGE, midi.SOUND_FONT),
    build,
    required=(PACKAGE, midi.SOUND_FONT),
    programs=(("fluidsynth", "fluidsynth"),),
)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
