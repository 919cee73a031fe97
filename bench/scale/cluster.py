"""Denoise a folder of recordings on a Dask cluster of two workers, and kill one of them (SIGKILL)."""

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from partae_fast.denoising.batch.folder import denoise_folder

from .common import model_file, options, say, write
from .folder import _names, _whole, make_recordings


def main(arguments: list[str]) -> int:
    parser = options("cluster", __doc__ or "")
    parser.add_argument("--files", type=int, default=300, help="number of recordings (default %(default)s)")
    args = parser.parse_args(arguments)
    from distributed import LocalCluster  # pyright: ignore[reportMissingImports]

    with (
        tempfile.TemporaryDirectory(dir=args.work) as name,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
    ):
        folder = Path(name)
        source, out = folder / "in", folder / "out"
        model = model_file(folder / "model.safetensors")
        bad = make_recordings(source, args.files, 0.01)
        done: list[object] = []

        def kill() -> None:
            while len(done) < args.files // 3:
                time.sleep(0.01)
            victim = next(iter(cluster.workers.values())).pid
            say(f"killing worker {victim} after {len(done)} recordings")
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        start = time.monotonic()
        summary = denoise_folder(
            model, [source], out, scheduler=cluster.scheduler_address, progress=False, outcome_callback=done.append
        )
        seconds = time.monotonic() - start
        missing = sum(not _whole(source, out, name) for name in _names(source) - bad)
    row = {
        "files": args.files,
        "corrupt": len(bad),
        "done": len(summary.done),
        "failed": len(summary.failed),
        "good_missing": missing,
        "seconds": seconds,
    }
    claims = {
        "every good recording is denoised": missing == 0 and len(summary.done) == args.files - len(bad),
        "every corrupt recording has failed": len(summary.failed) == len(bad),
        "a worker was killed during the run": not killer.is_alive(),
    }
    lines = [
        f"{args.files} recordings of half a second on two workers with one thread each. One worker was killed after a "
        f"third of the recordings. {row['done']} are done and {row['failed']} failed ({len(bad)} are corrupt), in "
        f"{seconds:.0f} s."
    ]
    return write(args.results, "cluster", {"rows": [row], "claims": claims}, "A cluster that loses a worker", lines)
