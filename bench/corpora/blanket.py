"""Weather, water, a city, a coffee shop, a train, a fire and night insects: the sounds of Blanket.

    python -m partae_fast.bench.corpora.blanket

Original rates, mostly 44.1 kHz; the mean of both channels. A source is a kind of sound, a file each.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from partae_fast.bench.corpora.common import Corpus, Recording, convert, licences, main, run_program

PACKAGE = "blanket"
_BUNDLE, _PREFIX = "usr/share/blanket/blanket.gresource", "data/resources/sounds/"


def build(packages: dict[str, Path], folder: Path) -> Iterator[Recording]:
    root = packages[PACKAGE]
    by_file, bundle = licences(root), str(root / _BUNDLE)
    for name in sorted(run_program(["gresource", "list", bundle]).decode().split()):
        if not name.endswith(".ogg"):
            continue
        sound = root / Path(name).name
        sound.write_bytes(run_program(["gresource", "extract", bundle, name]))
        path = f"{sound.stem}/{sound.stem}.flac"
        if convert(sound, folder / path):
            yield Recording(path, sound.stem, by_file[_PREFIX + sound.name])


CORPUS = Corpus(
    "blanket",
    "weather, water, a city and a coffee shop",
    (PACKAGE,),
    build,
    required=(PACKAGE,),
    programs=(("gresource", "libglib2.0-bin"),),
)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
