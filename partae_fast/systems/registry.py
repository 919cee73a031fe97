"""The systems that can be trained: what each learns from, its settings, and the function that trains it.

A system is a file in this package with a frozen dataclass `Settings`, a function `fit(material, settings, options)`
that returns the trained model, and `SYSTEMS`, a System for each of its names. Nothing else lists systems.
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
    """A system: where it was published, what it must and may learn from, and how it is trained.

    name: what it is trained under.
    source: the publication.
    settings_type: the frozen dataclass of its settings: int, float, bool, str or one of these or None, with defaults.
    train: fit(material, settings, options), which returns the model.
    needs, may: names in `KINDS`: what it must be given, and what it may be given besides.
    presets: settings that the name stands for; they may still be given other values.
    weak: whether it learns from spectrograms with weak labels: these can be cached, and several processes can train it.
    """

    name: str
    source: str
    settings_type: type
    train: Callable[[Material, Any, TrainingOptions], Any]
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    presets: Mapping[str, Any] = field(default_factory=dict)
    weak: bool = False

    def defaults(self) -> dict[str, Any]:
        """Each setting's default, by name."""
        return {entry.name: entry.default for entry in fields(self.settings_type)} | dict(self.presets)

    def settings(self, values: Mapping[str, Any] | None = None) -> Any:
        """The settings with some values replaced, by name: values of the setting's type, or text that says one.

        Raises UserError for an unknown name, and for a value of another type.
        """
        known, types = self.defaults(), get_type_hints(self.settings_type)
        unknown = sorted(set(values or {}) - set(known))
        if unknown:
            raise UserError(f"there is no setting {unknown[0]!r}; there are {', '.join(known)}")
        read = {name: _as(name, value, types[name], known[name]) for name, value in (values or {}).items()}
        return self.settings_type(**{**self.presets, **read})

    def fit(self, material: Material, settings: Any, options: TrainingOptions) -> Any:
        """Train on the material; raises UserError where some is missing or of no use to this system."""
        missing = [name for name in self.needs if not getattr(material, name)]
        if missing:
            raise UserError(f"{KINDS[missing[0]]} must be given to train this model")
        surplus = [name for name in KINDS if getattr(material, name) and name not in (*self.needs, *self.may)]
        if surplus:
            takes = ", ".join(KINDS[name] for name in (*self.needs, *self.may))
            raise UserError(f"this model does not learn from {KINDS[surplus[0]]}; it takes {takes}")
        if not self.weak and (options.cache or options.reservoir):
            raise UserError(f"cache and reservoir are not for model {self.name}; leave them out")
        if options.reservoir and not options.cache:
            raise UserError("reservoir is a part of what cache keeps on disk; give a cache folder too")
        if not self.weak and current().count > 1:
            raise UserError("this model is trained by one process; run it without torchrun")
        return self.train(material, settings, options)


@functools.cache
def systems() -> Mapping[str, System]:
    """Every system by its name, the default first: those of all files in this package."""
    found: dict[str, System] = {}
    for module in pkgutil.iter_modules(importlib.import_module(__name__.rpartition(".")[0]).__path__):
        for system in getattr(importlib.import_module(f"{__package__}.{module.name}"), "SYSTEMS", ()):
            if system.name in found:
                raise ValueError(f"two systems have the name {system.name}; rename one")
            found[system.name] = system
    return {DEFAULT: found.pop(DEFAULT), **found}


def system_named(name: str) -> System:
    """The system of this name; raises UserError where there is none, listing those that there are."""
    name = _ALIASES.get(name, name)
    if name not in systems():
        raise UserError(f"model {name!r} is not known; choose one of {', '.join(systems())}")
    return systems()[name]


def _as(name: str, value: Any, kind: Any, default: Any) -> Any:
    """A setting's value in its type: int, float, bool, str, or one of these or None."""
    types = get_args(kind) or (kind,)
    if value is None and type(None) in types:
        return None
    plain = next(t for t in types if t is not type(None))
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[plain]
    text = str(value).strip()
    try:
        if plain is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        return plain(text)
    except (KeyError, ValueError):
        example = "" if default is None else f", such as {default}"
        raise UserError(f"{name} is {value!r}; it must be {expected}{example}") from None
