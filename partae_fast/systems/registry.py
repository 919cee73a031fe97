"""The registry of systems that can be trained.

A system is a module in this package with a frozen dataclass `Settings`, a function `fit(material, settings, options)`
that returns the trained model, and a tuple `SYSTEMS` with a System for each name. The registry imports all modules.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_type_hints

from ..errors import UserError
from ..training.distributed import current
from ..training.material import KINDS, Material
from ..training.options import TrainingOptions

DEFAULT = "field"
_ALIASES = {"conv": DEFAULT}  # names of an earlier version


@dataclass(frozen=True)
class System:
    """A system that can be trained.

    Args:
        name: the name for `fit` and `partae train --model`.
        source: the publication.
        settings_type: the frozen dataclass of the settings, with defaults; types are int, float, bool and str, each
            optionally with None.
        train: the function fit(material, settings, options), which returns the model.
        required: the required kinds of material, names in `KINDS`.
        optional: the optional kinds of material.
        presets: defaults of settings that differ from those of `settings_type`.
        weak: true if the system trains on spectrograms with weak labels. Such systems can cache spectrograms and train
            in several processes.
    """

    name: str
    source: str
    settings_type: type
    train: Callable[[Material, Any, TrainingOptions], Any]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    presets: Mapping[str, Any] = field(default_factory=dict)
    weak: bool = False

    def defaults(self) -> dict[str, Any]:
        """Return the default of each setting, by name."""
        return {entry.name: entry.default for entry in fields(self.settings_type)} | dict(self.presets)

    def settings(self, values: Mapping[str, Any] | None = None) -> Any:
        """Return the settings, with `values` in place of defaults.

        Text is converted to the type of the setting.

        Raises UserError for an unknown name, and for a value of another type.
        """
        defaults, types = self.defaults(), get_type_hints(self.settings_type)
        unknown = sorted(set(values or {}) - set(defaults))
        if unknown:
            raise UserError(f"there is no setting {unknown[0]!r}; the settings are {', '.join(defaults)}")
        converted = {name: _convert(name, value, types[name], defaults[name]) for name, value in (values or {}).items()}
        return self.settings_type(**{**self.presets, **converted})

    def fit(self, material: Material, settings: Any, options: TrainingOptions) -> Any:
        """Train the system on the material.

        Raises UserError if a required kind is missing or an unused kind is given.
        """
        missing = [name for name in self.required if not getattr(material, name)]
        if missing:
            raise UserError(f"model {self.name} needs {KINDS[missing[0]]}; give them too")
        unused = [name for name in KINDS if getattr(material, name) and name not in (*self.required, *self.optional)]
        if unused:
            accepted = ", ".join(KINDS[name] for name in (*self.required, *self.optional))
            raise UserError(f"model {self.name} cannot be trained on {KINDS[unused[0]]}; give {accepted}")
        if not self.weak and (options.cache or options.reservoir):
            raise UserError(f"model {self.name} does not support cache and reservoir; leave them out")
        if options.reservoir and not options.cache:
            raise UserError("reservoir needs a cache of spectrograms; give a cache folder too")
        if not self.weak and current().count > 1:
            raise UserError(f"model {self.name} is trained by a single process; run it without torchrun")
        return self.train(material, settings, options)


@functools.cache
def systems() -> Mapping[str, System]:
    """Return the systems of all modules in this package by name, the default first."""
    by_name: dict[str, System] = {}
    for module in pkgutil.iter_modules(importlib.import_module(__name__.rpartition(".")[0]).__path__):
        for system in getattr(importlib.import_module(f"{__package__}.{module.name}"), "SYSTEMS", ()):
            if system.name in by_name:
                raise ValueError(f"two systems have the name {system.name}; rename one")
            by_name[system.name] = system
    return {DEFAULT: by_name.pop(DEFAULT), **by_name}


def system_named(name: str) -> System:
    """Return the system with this name; raise UserError if there is none."""
    name = _ALIASES.get(name, name)
    if name not in systems():
        raise UserError(f"model {name!r} is not known; choose one of {', '.join(systems())}")
    return systems()[name]


def _convert(name: str, value: Any, annotation: Any, default: Any) -> Any:
    """Convert a value to the type of a setting.

    Types are int, float, bool and str, and None if the annotation allows it.
    """
    types = get_args(annotation) or (annotation,)
    if value is None and type(None) in types:
        return None
    value_type = next(t for t in types if t is not type(None))
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[value_type]
    text = str(value).strip()
    try:
        if value_type is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        return value_type(text)
    except (KeyError, ValueError):
        example = "" if default is None else f", such as {default}"
        raise UserError(f"{name} is {value!r}; it must be {expected}{example}") from None
