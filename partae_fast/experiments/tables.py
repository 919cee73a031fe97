"""The CSV tables of the experiments."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..atomic import atomic_path


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], decimals: int) -> None:
    """Write rows that have the same keys to a CSV file, floats rounded to `decimals`.

    Raises UserError if the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: round(x, decimals) if isinstance(x, float) else x for key, x in row.items()})
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())
