"""The finished parts of a long run, files in a folder beside its results, so that the run can be resumed."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..atomic import atomic_path
from ..errors import UserError

Rows = list[dict[str, Any]]


def require_unused(folder: Path, resume: bool) -> None:
    """Create a folder for the parts of a run; raise UserError if it has files and `resume` is false."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not resume:
        raise UserError(
            f"{folder}: contains an earlier run; continue it with --resume, or name another folder with --out"
        )


class Parts:
    """The rows of each finished part of a run, a JSON file each.

    Args:
        folder: of the files; created if missing.
        settings: that the rows depend on, as JSON.
        resume: whether to keep the parts that are in the folder.

    Raises UserError if the folder has files and `resume` is false.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], resume: bool) -> None:
        require_unused(folder, resume)
        self.folder, self._settings = folder, json.loads(json.dumps(settings))

    def rows(self, name: str, make: Callable[[], Iterable[Mapping[str, Any]]]) -> Rows:
        """Return the rows of a part: those in its file, or those that `make` returns, which are then written to it.

        Raises UserError if the file is damaged or was written with other settings.
        """
        path = self.folder / f"{name}.json"
        if path.exists():
            return self._read(path)
        rows = [dict(row) for row in make()]
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"settings": self._settings, "rows": rows}) + "\n")
        return rows

    def _read(self, path: Path) -> Rows:
        try:
            content = json.loads(path.read_text())
            settings, rows = content["settings"], list(content["rows"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot be read ({error}); delete it to compute it again") from error
        if settings != self._settings:
            raise UserError(f"{path}: has other settings; use the same, or name another folder with --out")
        return rows
