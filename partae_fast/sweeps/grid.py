"""The members of a sweep, and how they are made from a grid of settings."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..errors import UserError
from ..kernels.train_steps import RULES
from ..models.conv_partitioned import ConvPartitionedAutoencoder
from ..sampling.crops import CropSampler

_MODEL: dict[str, Callable[[Any], Any]] = {
    "latents": int,
    "taps": int,
    "pool": int,
    "background": float,
    "seed": int,
}
_SAMPLER = {"frames": int, "batch": int, "noise_only": float, "seed": int}
_TRAINER = {"penalty": float, "optimizer": str, "learning_rate": float}
_OPTIONS = {name: float for rule in RULES.values() for name in rule.options if name != "learning_rate"}

# The settings that a grid may contain, and their types. `seed` applies to both model and sampler.
SETTINGS: dict[str, Callable[[Any], Any]] = {**_TRAINER, **_MODEL, **_SAMPLER, **_OPTIONS}

# The columns of a sweep's table after name and settings; see `Sweep.rows`.
RESULTS = ("status", "steps", "loss_first", "loss_last", "error", "leak", "keep", "model")

_LONGEST_NAME = 160  # characters; file names with prefix and suffix stay below the limit of 255 bytes


@dataclass(eq=False)
class Member:
    """A model of a sweep, and how it is trained.

    Args:
        settings: the settings shown in tables and plots, by name: numbers, strings or None.
        model: a ConvPartitionedAutoencoder on the device to train on. Members must not share a model.
        sampler: the batches. Members may share a sampler, or the recordings of one (`CropSampler.with_settings`).
        penalty, optimizer, learning_rate, options: as for `Trainer`.
        name: the name of the member's files; by default made from the settings.

    Raises UserError if a setting is not a finite number, a string or None, if its name is a column of results, or if
    the member's name cannot be a file name.
    """

    settings: dict[str, Any]
    model: Any
    sampler: CropSampler
    penalty: float = 0.75
    optimizer: str = "adadelta"
    learning_rate: float | None = None
    options: dict[str, float] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        for key, value in self.settings.items():
            if key in ("name", *RESULTS):
                raise UserError(f"a setting is called {key}, which is a column of results; choose another name")
            if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not isfinite(value)):
                raise UserError(f"setting {key} is {value!r}; give a finite number, a string or None")
        self.name = self.name or name_of(self.settings)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=+-]*", self.name) or len(self.name) > _LONGEST_NAME:
            raise UserError(
                f"a member is called {self.name!r}; give a name of letters, digits and ._=+-, at most {_LONGEST_NAME} "
                "characters"
            )


def name_of(settings: Mapping[str, Any]) -> str:
    """Return a file name made from settings.

    >>> name_of({"penalty": 0.5, "noise": "the crowd", "seed": 0})
    'penalty=0.5_noise=the-crowd_seed=0'
    """
    return "_".join(f"{key}={re.sub(r'[^A-Za-z0-9.+-]+', '-', _short(value))}" for key, value in settings.items())


def _short(value: Any) -> str:
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)


def combinations(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all combinations of a grid's values; the last setting changes fastest.

    The grid has a value or a list of values for each setting; text is converted to the type of the setting. Raises
    UserError for an unknown setting and for a value of another type.

    >>> combinations({"penalty": [0.5, 1], "seed": "3"})
    [{'penalty': 0.5, 'seed': 3}, {'penalty': 1.0, 'seed': 3}]
    """
    columns = []
    for name, entry in grid.items():
        if name not in SETTINGS:
            raise UserError(f"setting {name!r} is not known; choose from {', '.join(SETTINGS)}")
        single = isinstance(entry, str) or not isinstance(entry, Iterable)
        values = [_convert(name, value) for value in ([entry] if single else entry)]
        if not values:
            raise UserError(f"setting {name} has no value; give one or more")
        columns.append(values)
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*columns)]


def _convert(name: str, value: Any) -> Any:
    """Convert a value to the type of the setting; raise UserError on failure."""
    value_type = SETTINGS[name]
    try:
        converted = value_type(value)
    except (TypeError, ValueError, OverflowError):
        converted = None
    if converted is None or (value_type is int and not isinstance(value, str) and converted != value):
        expected = {int: "a whole number", float: "a number", str: "a string"}[value_type]
        raise UserError(f"setting {name} is {value!r}; it must be {expected}")
    return converted


def members_of(
    grid: Sequence[dict[str, Any]], sampler: CropSampler, fixed: Sequence[Mapping[str, Any]] | None = None
) -> list[Member]:
    """Make a member for each combination in `grid`.

    Members share the recordings of `sampler` and use its device.

    Args:
        grid: for each member, the settings shown in names and tables.
        sampler: gives the settings of batches that are neither in `grid` nor in `fixed`; other settings have the
            defaults of ConvPartitionedAutoencoder and Trainer.
        fixed: for each member, further settings that are not shown in names and tables.
    """
    by_frames, samplers = {sampler.frames: sampler}, {}
    members = []
    for varied, rest in zip(grid, fixed or [{}] * len(grid), strict=True):
        settings = {**rest, **varied}

        def pick(names: Mapping[str, Any], settings: Mapping[str, Any] = settings) -> dict[str, Any]:
            return {name: settings[name] for name in names if name in settings}

        batch_settings = {"frames": sampler.frames, **pick(_SAMPLER)}
        frames, key = batch_settings.pop("frames"), tuple(batch_settings.items())
        if frames not in by_frames:
            by_frames[frames] = sampler.with_settings(frames=frames)
        if (frames, key) not in samplers:
            samplers[frames, key] = by_frames[frames].with_settings(**batch_settings)
        model = ConvPartitionedAutoencoder(bins=sampler.bins, **pick(_MODEL)).to(sampler.source.device)
        members.append(Member(varied, model, samplers[frames, key], options=pick(_OPTIONS), **pick(_TRAINER)))
    return members
