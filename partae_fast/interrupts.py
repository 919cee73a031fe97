"""Deferred handling of Ctrl-C, for code that must not be interrupted."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# The handler that records an interrupt while it is deferred. Python runs signal handlers on the main thread only, so
# there is at most one.
_recorder: Callable[[int, FrameType | None], None] | None = None


@contextlib.contextmanager
def deferred_interrupt(ignore_repeats: bool = False) -> Iterator[list[int]]:
    """Append Ctrl-C to the yielded list instead of raising KeyboardInterrupt.

    A second Ctrl-C raises at once unless `ignore_repeats` is true: under torchrun every process gets the signal twice,
    from the terminal and from torchrun. If another handler is set, or off the main thread, nothing changes.
    """
    global _recorder
    interrupts: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        if interrupts and not ignore_repeats:
            raise KeyboardInterrupt
        interrupts.append(number)

    before = signal.getsignal(signal.SIGINT)
    usual_handler = before in (signal.default_int_handler, signal.SIG_IGN) and _recorder is None
    if not usual_handler or threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    _recorder = record
    if before is signal.default_int_handler:  # a process that ignores Ctrl-C keeps ignoring it
        signal.signal(signal.SIGINT, record)
    try:
        yield interrupts
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
        _recorder = None


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal like Ctrl-C, even if the process ignores Ctrl-C."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # background jobs of a shell ignore Ctrl-C
        handler = _recorder or signal.default_int_handler
    handler(signal.SIGINT, frame)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer the KeyboardInterrupt of Ctrl-C to the end of the block.

    For libraries that call back into Python: they print and drop an exception in a callback, and continue as if, for
    example, the file had ended.
    """
    with deferred_interrupt() as interrupts:
        yield
    if interrupts:
        raise KeyboardInterrupt
