"""Damage to the bytes of a file, as disks, cables and programs do it."""

import random

# Numbers that headers get wrong.
WHOLE = (0, 1, -1, 2, 3, 255, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**64)


def damaged(pick: random.Random, content: bytes, other: bytes) -> bytes:
    """Return the content with one piece changed, removed, repeated, or replaced by one of the other file."""
    place = pick.randrange(len(content) + 1)
    end = min(len(content), place + pick.choice((1, 1, 2, 8, 64, 1000)))
    kind = pick.randrange(7)
    if kind == 0 and content:
        place = min(place, len(content) - 1)
        return content[:place] + bytes([content[place] ^ 1 << pick.randrange(8)]) + content[place + 1 :]
    if kind == 1:
        return content[:place]
    if kind == 2:
        return content[:place] + content[end:]
    if kind == 3:
        return content[:place] + pick.randbytes(end - place) + content[end:]
    if kind == 4:
        return content[:place] + content[place:end] * pick.choice((2, 3, 100)) + content[end:]
    if kind == 5:
        return content[:place] + other[pick.randrange(len(other) + 1) :]
    return numbered(pick, content, place)


def numbered(pick: random.Random, content: bytes, place: int) -> bytes:
    """Return the content with an odd number of 1 to 8 bytes at a place."""
    width = pick.choice((1, 2, 2, 4, 4, 4, 8))
    value = pick.choice(WHOLE) if pick.random() < 0.7 else len(content) + pick.randrange(-9, 9)
    order = "big" if pick.random() < 0.3 else "little"
    piece = (value % 2 ** (8 * width)).to_bytes(width, order)
    return content[:place] + piece + content[place + width :]
