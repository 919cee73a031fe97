"""Weak labels: which stretches of a recording have signal, which hold noise alone, and of which that is unknown.

Labels have three states. Time inside an event has signal. Time outside every event of a recording that is listed is
noise-only, the whole of it where there are no events. A recording that is not listed is unknown, and so is time with a
label that was not asked for: neither is ever taken for noise.

A file for each format reads it into a Table; `formats` tells them apart; `listed` says of which recording each row is.
"""

from .audacity import read_audacity
from .event import Event
from .formats import FORMATS, read_labels
from .listed import Recording, listed
from .timeline import GUARD, TOLERANCE, Rules, Timeline, band, cut, require_channels

__all__ = [
    "FORMATS",
    "GUARD",
    "TOLERANCE",
    "Event",
    "Recording",
    "Rules",
    "Timeline",
    "band",
    "cut",
    "listed",
    "read_audacity",
    "read_labels",
    "require_channels",
]
