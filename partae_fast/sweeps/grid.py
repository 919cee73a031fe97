"""What is trained side by side: the members of a sweep, and how a grid of settings is made into them."""

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

# The settings that a grid may have, and their types. `seed` is the model's and the sampler's.
SETTINGS: dict[str, Callable[[Any], Any]] = {**_TRAINER, **_MODEL, **_SAMPLER, **_OPTIONS}

# The columns of a sweep's table beside name and settings; see `partae_fast.sweeps.sweep`.
RESULTS = ("status", "steps", "loss_first", "loss_last", "error", "leak", "keep", "model")

_LONGEST_NAME = 160  # with what is put before and behind it, below the 255 bytes of a file's name


@dataclass(eq=False)
class Member:
    """A model of a sweep, and how it is trained.

    settings        what is told of it in tables and plots, by name: numbers, words, None
    model           a ConvPartitionedAutoencoder of its own, on the device to train on
    sampler         its batches; members may share one, or the recordings of one (`CropSampler.with_settings`)
    penalty, optimizer, learning_rate, options      as for `Trainer`
    name            of its files; made from the settings where none is given

    Raises UserError where a name or a setting cannot be written to a file or stands for a column of results.
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
                raise UserError(f"a setting is called {key}, as a column of results is; call it otherwise")
            if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not isfinite(value)):
                raise UserError(f"setting {key} is {value!r}; give a finite number, a word or None")
        self.name = self.name or name_of(self.settings)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=+-]*", self.name) or len(self.name) > _LONGEST_NAME:
            raise UserError(
                f"a member is called {self.name!r}; names have letters, digits and ._=+-, at most {_LONGEST_NAME} of "
                "them: give it another"
            )


def name_of(settings: Mapping[str, Any]) -> str:
    """A name for files, made from settings.

    >>> name_of({"penalty": 0.5, "noise": "the crowd", "seed": 0})
    'penalty=0.5_noise=the-crowd_seed=0'
    """
    return "_".join(f"{key}={re.sub(r'[^A-Za-z0-9.+-]+', '-', _short(value))}" for key, value in settings.items())


def _short(value: Any) -> str:
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)


def combinations(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All combinations of a grid's values, the last setting changing fastest.

    A value is one or a list of some; text stands for what it says. Raises UserError for unknown names, which lists the
    known ones, and for values of another type.

    >>> combinations({"penalty": [0.5, 1], "seed": "3"})
    [{'penalty': 0.5, 'seed': 3}, {'penalty': 1.0, 'seed': 3}]
    """
    columns = []
    for name, given in grid.items():
        if name not in SETTINGS:
            raise UserError(f"setting {name!r} is not known; known are {', '.join(SETTINGS)}")
        single = isinstance(given, str) or not isinstance(given, Iterable)
        values = [_typed(name, value) for value in ([given] if single else given)]
        if not values:
            raise UserError(f"setting {name} has no value; give one or more")
        columns.append(values)
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*columns)]


def _typed(name: str, value: Any) -> Any:
    kind = SETTINGS[name]
    try:
        typed = kind(value)
    except (TypeError, ValueError, OverflowError):
        typed = None
    if typed is None or (kind is int and not isinstance(value, str) and typed != value):
        wanted = {int: "a whole number", float: "a number", str: "a word"}[kind]
        raise UserError(f"setting {name} is {value!r}; it must be {wanted}")
    return typed


def members_of(
    grid: Sequence[dict[str, Any]], sampler: CropSampler, fixed: Sequence[Mapping[str, Any]] | None = None
) -> list[Member]:
    """A member for each combination in `grid`, all over the recordings of `sampler`, on their device.

    `fixed` has for each the settings that are not told of; what is in neither is as `sampler` has it, or as
    ConvPartitionedAutoencoder and Trainer have it by default.
    """
    lengths, samplers = {sampler.frames: sampler}, {}
    members = []
    for varied, rest in zip(grid, fixed or [{}] * len(grid), strict=True):
        settings = {**rest, **varied}

        def pick(names: Mapping[str, Any], settings: Mapping[str, Any] = settings) -> dict[str, Any]:
            return {name: settings[name] for name in names if name in settings}

        drawn = {"frames": sampler.frames, **pick(_SAMPLER)}
        frames, key = drawn.pop("frames"), tuple(drawn.items())
        if frames not in lengths:
            lengths[frames] = sampler.with_settings(frames=frames)
        if (frames, key) not in samplers:
            samplers[frames, key] = lengths[frames].with_settings(**drawn)
        model = ConvPartitionedAutoencoder(bins=sampler.bins, **pick(_MODEL)).to(sampler.source.device)
        members.append(Member(varied, model, samplers[frames, key], options=pick(_OPTIONS), **pick(_TRAINER)))
    return members
