"""The settings of an experiment as a YAML file, written beside its results; `partae reproduce --config` reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..atomic import atomic_path
from ..audio.files import PathLike
from ..errors import UserError

NAME = "settings.yaml"


def write_settings(folder: Path, paper: str, settings: Mapping[str, Any], **details: Any) -> Path:
    """Write the settings of a run to settings.yaml in its folder; return the file.

    Args:
        folder: of the results.
        paper: the name of the experiment.
        settings: arguments of its `run`, without paths, which differ between machines.
        details: settings that follow from them, for the reader; `read_settings` leaves them out.

    Raises UserError if the file cannot be written.
    """
    import yaml

    path = folder / NAME
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump({"paper": paper, "settings": dict(settings), **details}, sort_keys=False))
    return path


def read_settings(path: PathLike, paper: str) -> dict[str, Any]:
    """Read the settings of an experiment from a file that `write_settings` wrote; JSON is YAML too.

    Raises UserError if the file cannot be read, or contains the settings of another experiment.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text())
        name, settings = content["paper"], dict(content["settings"])
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; give a {NAME} that a run wrote") from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: has no paper and settings in YAML; give a {NAME} that a run wrote") from error
    if name != paper:
        raise UserError(f"{path}: has the settings of {name}; give those of {paper}, or reproduce {name}")
    return settings
