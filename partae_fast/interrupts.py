"""Ctrl-C where it must not land in the middle of something: it is put off until that is over."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# What notes an interrupt while it is put off. Signals are served on the main thread alone, so there is one.
_note: Callable[[int, FrameType | None], None] | None = None


@contextlib.contextmanager
def deferred_interrupt(ignore_repeats: bool = False) -> Iterator[list[int]]:
    """Ctrl-C fills the list instead of raising, so that it never lands in the middle of an update.

    A second Ctrl-C raises at once, unless `ignore_repeats`: torchrun passes on what the terminal sent to all already. Where
    another handler is set, or off the main thread, nothing is changed.
    """
    global _note
    waiting: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if waiting and not ignore_repeats:
            raise KeyboardInterrupt
        waiting.append(number)

    before = signal.getsignal(signal.SIGINT)
    ours = before in (signal.default_int_handler, signal.SIG_IGN) and _note is None
    if not ours or threading.current_thread() is not threading.main_thread():
        yield waiting
        return
    _note = note
    if before is signal.default_int_handler:  # what ignores Ctrl-C goes on to do so
        signal.signal(signal.SIGINT, note)
    try:
        yield waiting
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
        _note = None


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler of signals that does what Ctrl-C does at that moment, or would do if it were not ignored."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell's background job ignores Ctrl-C
        handler = _note or signal.default_int_handler
    handler(signal.SIGINT, frame)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C raises at the end of the block, not in it.

    For calls of a library that calls back into Python: an exception in there is printed and lost, and the library goes
    on with what it was given, such as a file that seems to end.
    """
    with deferred_interrupt() as waiting:
        yield
    if waiting:
        raise KeyboardInterrupt
