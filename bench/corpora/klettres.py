"""Letters and syllables, read by a voice or more in each of some 20 languages: the sounds of KLettres.

    python -m partae_fast.bench.corpora.klettres

16 kHz. The speakers are not named, so a source is a language.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from partae_fast.bench.corpora.common import SPEECH_RATE, Corpus, Recording, convert, licences, main

PACKAGE = "klettres-data"


def build(packages: dict[str, Path], folder: Path) -> Iterator[Recording]:
    root = packages[PACKAGE]
    licence, top = licences(root)["*"], root / "usr/share/klettres"
    for source in sorted(top.glob("*/*/*.ogg")):
        language, part, _ = source.relative_to(top).parts
        path = f"{language}/{part}-{source.stem}.flac"
        if convert(source, folder / path, SPEECH_RATE):
            yield Recording(path, language, licence)


CORPUS = Corpus("klettres", "letters and syllables in some 20 languages", (PACKAGE,), build, required=(PACKAGE,))

if __name__ == "__main__":
    sys.exit(main(CORPUS))
