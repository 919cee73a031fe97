"""Audio files with tags as other programs write them: empty, in Latin-1, of blanks."""

import struct

import soundfile

from . import wave_chunks as w


def id3v1(title=b"", artist=b"", comment=b""):
    """Return the 128 bytes at the end of an MP3 file: fields of fixed length."""
    return b"TAG" + title.ljust(30, b"\0") + artist.ljust(30, b"\0") + bytes(34) + comment.ljust(30, b"\0") + b"\xff"


def mp3(path, samples, tag):
    soundfile.write(path, samples, 44100, format="MP3")
    with open(path, "ab") as file:
        file.write(tag)


def flac(path, samples, *comments):
    """Write a FLAC file with Vorbis comments, such as b"ARTIST=x"."""
    soundfile.write(path, samples, 22050, format="FLAC")
    content, position, blocks, last = path.read_bytes(), 4, [], False
    while not last:
        kind, length = content[position], int.from_bytes(content[position + 1 : position + 4])
        last = kind >= 128
        blocks.append((kind % 128, content[position + 4 : position + 4 + length]))
        position += 4 + length
    strings = (b"test", struct.pack("<I", len(comments)), *comments)
    body = b"".join(s if n == 1 else struct.pack("<I", len(s)) + s for n, s in enumerate(strings))
    blocks = [block for block in blocks if block[0] != 4] + [(4, body)]  # 4: Vorbis comments
    headers = (
        bytes([kind + 128 * (n == len(blocks) - 1)]) + len(block).to_bytes(3) + block
        for n, (kind, block) in enumerate(blocks)
    )
    path.write_bytes(b"fLaC" + b"".join(headers) + content[position:])


def wav(path, samples, **items):
    path.write_bytes(w.wave(samples * 2**15, after=w.info(**items)))


# How each file is written, and its tags.
TAGGED = {
    "MP3 with empty fields": (lambda path, x: mp3(path, x, id3v1(b"dawn")), {"title": "dawn"}),
    "MP3 without any text": (lambda path, x: mp3(path, x, id3v1()), {}),
    "MP3 with blanks": (lambda path, x: mp3(path, x, id3v1(b" " * 30, b" " * 30)), {}),
    "MP3 in Latin-1": (
        lambda path, x: mp3(path, x, id3v1("é".encode("latin-1"), b"M\xfcller")),
        {"title": "é", "artist": "Müller"},
    ),
    "FLAC with an empty comment": (lambda path, x: flac(path, x, b"COMMENT=", b"ARTIST=x"), {"artist": "x"}),
    "FLAC in Latin-1": (lambda path, x: flac(path, x, b"COMMENT=M\xfcller", b"ARTIST="), {"comment": "Müller"}),
    "FLAC in Windows-1252": (lambda path, x: flac(path, x, b"COMMENT=5 \x80"), {"comment": "5 €"}),
    "FLAC in UTF-8": (lambda path, x: flac(path, x, "TITLE=São ❄".encode()), {"title": "São ❄"}),
    "FLAC with a broken comment": (lambda path, x: flac(path, x, b"ARTIST", b"=", b"COMMENT=a\0b"), {"comment": "a"}),
    "FLAC with a long comment": (lambda path, x: flac(path, x, b"COMMENT=" + b"x" * 10**5), {"comment": "x" * 10**5}),
    "WAV with an empty field": (lambda path, x: wav(path, x, IART=b"", ICMT=b"hi\0"), {"comment": "hi"}),
    "WAV with a field of zeros": (lambda path, x: wav(path, x, IART=b"\0\0", ICMT=b"hi"), {"comment": "hi"}),
    "WAV with empty fields only": (lambda path, x: wav(path, x, IART=b"\0", ICMT=b""), {}),
    "WAV in Latin-1": (lambda path, x: wav(path, x, ICMT=b"at 20\xb0C\0"), {"comment": "at 20°C"}),
}
