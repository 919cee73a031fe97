"""Denoise recordings, or folders of recordings, with a trained model.

Outputs have the rate, channels and length of the input. --part noise writes the removed noise; signal and noise add up
to the input.

A folder is denoised with all its subfolders, and --out gets the same folder structure. The file partae-journal.jsonl in
--out lists the state of every recording. A recording that the journal lists as done with the same model and settings is
skipped, so the same command continues after Ctrl-C, a crash or a power cut, and denoises new recordings when a folder
grows. Files that cannot be read are skipped and listed at the end, with exit code 1. To denoise everything again,
delete --out.

--jobs N denoises N recordings at a time, each in its own process; this is faster for many short recordings.
--scheduler sends the recordings to a Dask cluster (pip install "partae-fast[cluster]"). Model, recordings and --out
must have the same paths on all workers. Start the workers with one thread each:
  dask worker ADDRESS --nworkers 8 --nthreads 1

examples:
  partae denoise dawn.safetensors dawn.wav --out clean.wav
  partae denoise dawn.safetensors june/*.flac --out clean/ --reduction 20 --figure
  partae denoise dawn.safetensors /media/sdcard --out clean --jobs 4
  partae denoise /data/dawn.safetensors /data/june --out /data/clean --scheduler tcp://10.0.0.1:8786
  partae denoise speech.safetensors street.wav --out clean.wav --adapt 100 --keep-best
"""

import argparse
from pathlib import Path
from typing import Any

from ..audio.files import CLIPPING, require_file
from ..denoising.batch.folder import BatchSummary, denoise_folder, devices
from ..denoising.batch.jobs import Job, Outcome
from ..denoising.batch.listing import lone_target
from ..denoising.batch.progress import progress_of
from ..denoising.denoise import PARTS
from ..denoising.files import FIGURE_SECONDS, denoise_file, figure_path
from ..errors import UserError
from ..models import load
from ..progress import is_shown
from . import adaptation
from .options import add_json, add_threads, int_at_least, print_json, use_threads

_MOST_FAILURES = 20  # that the summary lists


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model that `partae train` wrote")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="recordings, or folders of recordings")
    parser.add_argument(
        "--out", required=True, metavar="PATH", help="the output file, or a folder if there are several recordings"
    )
    parser.add_argument(
        "--part", choices=PARTS, default="signal", help="write the signal or the removed noise (default: %(default)s)"
    )
    parser.add_argument(
        "--reduction", type=float, metavar="DB", help="the largest attenuation of any frequency (default: no limit)"
    )
    parser.add_argument(
        "--clipping",
        choices=CLIPPING,
        default="clip",
        help="if samples exceed full scale: clip them, write floats, or scale the file down (default: %(default)s)",
    )
    parser.add_argument(
        "--figure",
        action="store_true",
        help=f"plot the first {FIGURE_SECONDS} s of each output to a .png file beside it",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace existing files; in a folder, outdated outputs of an earlier run are always replaced",
    )
    adaptation.add(parser)
    device = parser.add_argument_group("processes and devices")
    device.add_argument(
        "--jobs",
        type=int_at_least(1),
        metavar="N",
        help="recordings to denoise at a time, in N processes (default: 1, or 1 per GPU)",
    )
    device.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: all GPUs, or the CPU without one)")
    device.add_argument("--scheduler", metavar="ADDRESS", help="the address of a Dask scheduler, in place of --jobs")
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    use_threads(args)
    target = lone_target(args.inputs, args.out, args.overwrite)
    if target is not None and args.scheduler:
        raise UserError(f"{target}: is one file, and --scheduler writes to a folder; leave it out, or give a folder")
    adaptation.check(args, single_file=target is not None)
    if target is None:
        summary, extra = _denoise_folder(args), {}
    else:
        summary, extra = _denoise_single(args, Path(args.inputs[0]), target)
    if args.json:
        print_json(_as_json(summary, args.figure) | extra)
    elif summary.journal is not None:
        _print_summary(summary)
    return 1 if summary.failed else 0


def _denoise_single(args: argparse.Namespace, source: Path, target: Path) -> tuple[BatchSummary, dict[str, Any]]:
    """Denoise one recording into one file.

    Returns the summary, and the entry of an adaptation for --json.
    """
    model = load(args.model).to(devices(args.device)[0])
    state = require_file(source).stat()
    extra: dict[str, Any] = {}
    if args.adapt:
        adapted = adaptation.adapt_model(args, model, source)
        model, extra["adaptation"] = adapted.model, adaptation.as_json(adapted)
    job = Job(source, target, state.st_size, state.st_mtime_ns)
    with progress_of([job], False if args.quiet else None) as bar:
        about = denoise_file(
            model,
            source,
            target,
            args.part,
            args.reduction,
            args.figure,
            args.overwrite,
            args.clipping,
            progress_callback=lambda share: bar.update(job, share),
        )
    outcome = Outcome(job, about.seconds)
    if not args.json:
        _print_done(outcome, args.figure)
    return BatchSummary(done=[outcome]), extra


def _denoise_folder(args: argparse.Namespace) -> BatchSummary:
    """Denoise all recordings into a folder."""
    progress = False if args.quiet else None
    on_done = None if args.json or is_shown(progress) else lambda outcome: _print_done(outcome, args.figure)
    try:
        return denoise_folder(
            args.model,
            args.inputs,
            args.out,
            part=args.part,
            reduction=args.reduction,
            clipping=args.clipping,
            figure=args.figure,
            overwrite=args.overwrite,
            jobs=args.jobs,
            device=args.device,
            scheduler=args.scheduler,
            progress=progress,
            outcome_callback=on_done,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command continues from the files in {args.out}") from None


def _as_json(summary: BatchSummary, figure: bool) -> dict[str, Any]:
    def about(job: Job) -> dict[str, Any]:
        return {"input": str(job.source), "output": str(job.target)}

    def drawn(outcome: Outcome) -> str | None:
        return str(figure_path(outcome.job.target)) if figure else None

    return {
        "done": [{**about(o.job), "figure": drawn(o), "seconds": o.seconds, "notes": o.notes} for o in summary.done],
        "skipped": [about(job) for job in summary.skipped],
        "failed": [{**about(o.job), "reason": o.reason} for o in summary.failed],
        "ignored": summary.ignored,
        "journal": None if summary.journal is None else str(summary.journal),
        "seconds": round(summary.seconds, 3),
    }


def _print_done(outcome: Outcome, figure: bool) -> None:
    """Print the outputs of a recording; a failure is in the log already."""
    if outcome.reason is None:
        target = outcome.job.target
        _print(f"{outcome.job.source} -> {target}" + (f", {figure_path(target)}" if figure else ""))


def _print_summary(summary: BatchSummary) -> None:
    done, skipped, failed = len(summary.done), len(summary.skipped), len(summary.failed)
    line = f"{done} done, {skipped} skipped (done before), {failed} failed"
    if summary.ignored:
        line += f"; {summary.ignored} other files ignored"
    with_notes = sum(bool(outcome.notes) for outcome in summary.done)
    if with_notes:
        line += f"; {with_notes} done with notes, see {summary.journal}"
    if summary.done:
        line += f"; {summary.audio_seconds / 3600:.2f} h of audio in {summary.seconds / 60:.1f} min"
    _print(line)
    for outcome in summary.failed[:_MOST_FAILURES]:
        _print(f"failed: {outcome.reason}")
    if failed > _MOST_FAILURES:
        _print(f"and {failed - _MOST_FAILURES} more, see {summary.journal}")


def _print(line: str) -> None:
    """Print a line; bytes of file names that are not valid text are escaped."""
    print(line.replace("\n", "\\n").encode(errors="backslashreplace").decode(), flush=True)
