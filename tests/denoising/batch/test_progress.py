"""Progress of a run."""

from pathlib import Path

from partae_fast.denoising.batch.jobs import Job, Outcome
from partae_fast.denoising.batch.progress import Progress


def test_progress_counts_files_hours_and_bytes():
    first, second = (Job(Path(f"{i}"), Path(f"{i}.wav"), size, 0) for i, size in enumerate((100, 300)))
    progress = Progress([first, second])
    progress.update(first, 0.5)
    assert (progress.text(), progress.bytes_done) == ("0/2 files", 50)
    progress.end(Outcome(first, seconds=3600.0))
    progress.update(second, 0.5)
    assert (progress.text(), progress.bytes_done) == ("1/2 files, 2.50 of about 4.00 h", 250)
