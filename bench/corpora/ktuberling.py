"""Single words, read by a voice or more in each of some 20 languages: the sounds of KTuberling.

    python -m partae_fast.bench.corpora.ktuberling

16 kHz, or the original rate if it is lower. The speakers are not named, so a source is a language. Files that are equal
in several variants of a language are kept once.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from partae_fast.audio.folders import SUFFIXES
from partae_fast.bench.corpora.common import SPEECH_RATE, Corpus, Recording, convert, licences, main

PACKAGE = "ktuberling-data"


def build(packages: dict[str, Path], folder: Path) -> Iterator[Recording]:
    root = packages[PACKAGE]
    licence, top = licences(root)["*"], root / "usr/share/ktuberling/sounds"
    contents: set[bytes] = set()
    for source in sorted(path for path in top.glob("*/**/*") if path.suffix in SUFFIXES):
        language = source.relative_to(top).parts[0]
        path = f"{language}/{'-'.join(source.relative_to(top).with_suffix('').parts[1:])}.flac"
        content = source.read_bytes()
        if content not in contents and convert(source, folder / path, SPEECH_RATE):
            contents.add(content)
            yield Recording(path, language, licence)


CORPUS = Corpus("ktuberling", "single words in some 20 languages", (PACKAGE,), build, required=(PACKAGE,))

if __name__ == "__main__":
    sys.exit(main(CORPUS))
