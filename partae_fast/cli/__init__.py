"""The command line `partae`, with a module per verb.

`add` adds the arguments of a verb, and `run` runs it.

Exit codes: 0 success; 1 a failed check (`verify`), model (`sweep`) or recording (`denoise`), or a bug; 2 a user's
mistake, with one line on stderr; 130, 143 and 129 stopped by Ctrl-C, SIGTERM or a closed terminal. Results go to
stdout, the log and errors to stderr.
"""

import argparse
import contextlib
import io
import itertools
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO
from unicodedata import category

from .. import __version__
from ..errors import USER_ERRNOS, UserError, is_out_of_memory
from ..interrupts import interrupt
from ..kernels import BackendUnavailable
from ..training.distributed import launched
from . import bench, demo, denoise, evaluate, info, labels, report, reproduce, separate, sweep, train, verify

_VERBS = (demo, labels, train, sweep, denoise, separate, report, evaluate, reproduce, verify, bench, info)

_EPILOG = """example: train a model on two recordings, then denoise the first one
  partae train dawn.wav --noise rain.wav --out dawn.safetensors
  partae denoise dawn.safetensors dawn.wav --out clean.wav

`partae VERB --help` shows examples of each verb."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the message in one line, without the usage, and exit with code 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Print the message, with control characters escaped, and exit."""
        super().exit(status, message and _printable(message, "\n"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `partae` and return the exit code.

    arguments: by default those of the process.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # like stderr: file names may be invalid UTF-8
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser(arguments)
    for name in itertools.takewhile("--".__ne__, arguments):
        if name.startswith("-") and Path(name).suffix and Path(name).is_file():
            parser.exit(2, f"partae: the file {name} looks like an option; write ./{name}\n")
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = f"; `partae train --model {args.model} --help` lists its settings" if args.verb == "train" else ""
        parser.exit(2, f"partae {args.verb}: unrecognized arguments: {' '.join(unknown)}{hint or '; see --help'}\n")
    ranks = launched()
    level = logging.WARNING if args.quiet else logging.INFO
    output = contextlib.nullcontext() if args.verb == "bench" else contextlib.redirect_stdout(_Printable(sys.stdout))
    with output, _logging(logging.CRITICAL if ranks and ranks.rank else level), _stoppable() as signals:
        try:
            if ranks and args.verb != "train":
                raise UserError(f"torchrun works with `train` alone; run `partae {args.verb}` without torchrun")
            code = args.run(args)
            _flush_output()
            return code
        except (UserError, BackendUnavailable) as error:
            if args.debug:
                raise
            return _print_message(args.verb, str(error), 2)
        except KeyboardInterrupt as stop:
            code = 128 + (signals[0] if signals else signal.SIGINT)
            return _print_message(args.verb, str(stop) or "stopped", code)
        except BrokenPipeError:
            _discard_output()  # the reader has closed the pipe (`partae info ... | head`)
            return 1
        except (OSError, MemoryError, RuntimeError) as error:
            if args.debug or not (message := _system_error_message(error)):
                raise
            return _print_message(args.verb, message, 2)


def _flush_output() -> None:
    """Flush stdout; raise UserError if the disk is full or refuses it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise UserError(f"standard output: {error.strerror}; redirect it to another file or disk") from error


def _discard_output() -> None:
    """Redirect stdout to the null device.

    Otherwise Python reports a second error when it exits.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _system_error_message(error: Exception) -> str | None:
    """Return the message for a system error that the user can fix, else None."""
    if isinstance(error, OSError) and error.errno in USER_ERRNOS:
        return f"{error.filename or 'a file'}: {error.strerror}; check its permissions and the space on the disk"
    if is_out_of_memory(error):
        return "memory ran out; close other programs, give fewer or shorter recordings, or use another machine"
    return None


def _print_message(verb: str, message: str, code: int) -> int:
    """Print the message in one line on stderr, and return `code`."""
    print(f"partae {verb}: {_printable(' '.join(message.split()))}", file=sys.stderr)
    return code


def _printable(text: str, keep: str = "") -> str:
    """Return text with its control characters escaped, except those in `keep`.

    Names of files and texts in model files may have control characters, which a terminal would execute.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep or category(c) == "Zs" else ascii(c)[1:-1] for c in text)


class _Printable(io.TextIOBase):
    """A stream that escapes control characters, except line ends and tabs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text; return its length."""
        self._stream.write(_printable(text, "\n\t"))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the file descriptor of the stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return not self._stream.closed and self._stream.isatty()


class _PrintableFormatter(logging.Formatter):
    """Formatter that escapes control characters in messages, but not in tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _printable(super().formatMessage(record))


@contextlib.contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Handle SIGTERM and SIGHUP like Ctrl-C.

    The number of each signal is appended to the yielded list.

    Code that defers Ctrl-C, such as an update of the weights, therefore defers these signals too. Signals that have
    another handler (for example under nohup) are left alone, as are all signals off the main thread.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        interrupt(number, frame)

    handled = []
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        handled = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="partae",
        description="Train models on noisy recordings and denoise recordings with them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"partae {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in _VERBS:
        name = module.__name__.rpartition(".")[2]
        summary, _, example = (module.__doc__ or "").partition("\n\n")
        verb = verbs.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module is train:
            train.add(verb, arguments)
        else:
            module.add(verb)
        verb.add_argument("-q", "--quiet", action="store_true", help="log warnings and errors only")
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
        verb.set_defaults(run=module.run)
    return parser


@contextlib.contextmanager
def _logging(level: int) -> Iterator[None]:
    """Print the library's log on stderr, without prefixes."""
    logger = logging.getLogger("partae_fast")
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
