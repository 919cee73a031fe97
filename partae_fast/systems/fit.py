"""`fit`, which trains any system on recordings."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import UserError
from ..labels import Rules
from ..training.material import Audio, Material, PathLike, path_list
from ..training.options import OPTION_NAMES, TrainingOptions
from .registry import DEFAULT, system_named

# Keywords of version 0.1 that are now label rules, and those that are now settings.
_RULES = ("guard", "signal_labels", "noise_labels", "min_noise", "label_format")
_SETTINGS = ("low", "high", "rate", "n_fft", "hop", "bins", "penalty")


def fit(
    recordings: Sequence[Audio] | Material = (),
    noise: Sequence[Audio] | None = None,
    labels: PathLike | Sequence[PathLike] | None = None,
    clean: Sequence[Audio] = (),
    stems: PathLike | Sequence[PathLike] = (),
    speech: PathLike | Sequence[PathLike] = (),
    system: str = DEFAULT,
    settings: Mapping[str, Any] | None = None,
    options: TrainingOptions | None = None,
    **older: Any,
) -> Any:
    """Train a system and return its model, ready to denoise or separate.

    The losses are in the `history` of the model.

    Channels of a recording are used as separate recordings. In a recording that label files list, time outside all
    events is noise-only and time inside an event has signal. Stretches of the same kind are joined, and a crop may span
    a join. Unknown time is used for neither: time with labels that are not in `signal_labels`, time with a label of
    another channel, and noise-only stretches that are too short. All time of a recording that is not listed may have
    signal.

    Args:
        recordings: noisy recordings: files, folders of files, or pairs (samples (T,) or (T, channels), rate in Hz).
            Alternatively a Material, which holds all recordings and the label rules; leave out the next five arguments
            then.
        noise: noise-only recordings, in the same form.
        labels: label files for `recordings`: Audacity, Raven, CSV, BirdNET and more;
            `partae_fast.labels.match_recordings` describes how rows are matched to recordings.
        clean: clean recordings of the signal, in the same form.
        stems: songs, each a folder of stems.
        speech: folders of speech, with a folder for each speaker.
        system: the name of a system, such as "field", "stowell2015" or "curro". `partae info --model NAME` shows which
            of the arguments above it needs.
        settings: settings of the system by name; see `Settings` in its module.
        options: options of the training.
        older: `preset`, an alias of `system`, and the deprecated keywords of version 0.1.

    In a process group of `torch.distributed`, all ranks train one model together (see `Trainer`). Call `fit` with the
    same arguments on every rank; each returns the model.

    Raises UserError for invalid files, labels or settings.

    >>> import numpy as np, partae_fast as pf
    >>> rng = np.random.default_rng(0)
    >>> dawn, rain = rng.normal(0, 0.1, 44100), rng.normal(0, 0.1, 44100)
    >>> model = pf.fit([(dawn, 22050)], noise=[(rain, 22050)], options=pf.TrainingOptions(steps=6, progress=False))
    >>> len(model.history.loss)
    6
    """
    system = older.pop("preset", system)
    settings, options, rules = _with_older(dict(settings or {}), options or TrainingOptions(), older)
    if isinstance(recordings, Material):
        if noise or labels or clean or stems or speech or rules:
            raise UserError("a Material cannot be combined with other recordings or label rules; put them into it")
        material = recordings
    else:
        material = Material(
            recordings, noise or (), path_list(labels), clean, path_list(stems), path_list(speech), Rules(**rules)
        )
    named = system_named(system)
    return named.fit(material, named.settings(settings), options)


def _with_older(
    settings: dict[str, Any], options: TrainingOptions, older: dict[str, Any]
) -> tuple[dict[str, Any], TrainingOptions, dict[str, Any]]:
    """Return settings, options and label rules with the keywords of version 0.1."""
    unknown = sorted(set(older) - {*_RULES, *_SETTINGS, *OPTION_NAMES})
    if unknown:
        raise TypeError(f"fit has no argument {unknown[0]!r}; pass settings of a system as settings={{...}}")
    if older:
        warnings.warn(
            f"fit({', '.join(older)}) is deprecated: use settings={{...}} for settings of the system, "
            "options=pf.TrainingOptions(...) for the training, pf.Material(..., label_rules=) for label rules",
            DeprecationWarning,
            stacklevel=3,
        )
    settings |= {name: older[name] for name in _SETTINGS if older.get(name) is not None}
    options = replace(options, **{name: older[name] for name in OPTION_NAMES if name in older})
    return settings, options, {name: older[name] for name in _RULES if name in older}


def fit_system(name: str, **arguments: Any) -> Any:
    """Deprecated: `fit(..., system=name)`."""
    warnings.warn("fit_system is deprecated; use fit(..., system=NAME)", DeprecationWarning, stacklevel=2)
    rules = arguments.pop("rules", None)
    if rules is not None:
        arguments |= {entry: getattr(rules, entry) for entry in _RULES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return fit(system=name, **arguments)
