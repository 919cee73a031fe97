"""Eight recordings of bands in two stems, the guitar and the rest: the songs of Frets on Fire.

    python -m partae_fast.bench.corpora.fretsonfire

44.1 kHz; the mean of both channels. A folder has guitar.flac and rest.flac.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from partae_fast.bench.corpora.common import Corpus, Recording, convert, licence_with, main

# Packages, with a phrase of the copyright file and the name of the licence that it belongs to.
_LICENCES = {
    "fretsonfire-songs-muldjord": ("Attribution ShareAlike licence 3.0", "CC-BY-SA-3.0"),
    "fretsonfire-songs-sectoid": ("to deal in the Software without restriction", "MIT"),
}
_STEMS = {"guitar": "guitar", "song": "rest"}


def build(packages: dict[str, Path], folder: Path) -> Iterator[Recording]:
    for package, root in packages.items():
        licence = licence_with(root, *_LICENCES[package])
        for source in sorted(root.rglob("*.ogg")):
            song, stem = source.parent.name.lower().replace(" ", "_"), _STEMS.get(source.stem)
            if stem and convert(source, folder / song / f"{stem}.flac"):
                yield Recording(f"{song}/{stem}.flac", stem, licence)


CORPUS = Corpus("fretsonfire", "recordings of bands, the guitar and the rest", tuple(_LICENCES), build)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
