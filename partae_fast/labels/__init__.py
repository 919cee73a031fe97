"""Weak labels: which stretches of a recording have signal, which are noise-only and which are unknown.

`formats` reads a label file of any format into a Table, `matching` assigns its rows to recordings, and `timeline`
derives the three states of a recording's time from its events.
"""

from .audacity import read_audacity
from .event import Event
from .formats import FORMATS, read_labels
from .matching import Recording, match_recordings
from .timeline import GUARD, OVERRUN, TOLERANCE, Rules, Timeline, band, cut, require_channels, warn_of_overrun

__all__ = [
    "FORMATS",
    "GUARD",
    "OVERRUN",
    "TOLERANCE",
    "Event",
    "Recording",
    "Rules",
    "Timeline",
    "band",
    "cut",
    "match_recordings",
    "read_audacity",
    "read_labels",
    "require_channels",
    "warn_of_overrun",
]
