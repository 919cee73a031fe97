"""From recordings to a trained model, in one call, for every system."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import UserError
from ..labels import Rules
from ..training.material import Audio, Material, PathLike, path_list
from ..training.options import OPTION_NAMES, TrainingOptions
from .registry import DEFAULT, system_named

# Keywords of version 0.1: where each went.
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
    """Train a system; returns its model, ready to denoise or separate, with the `history` of its loss.

    Every channel of every recording is a recording. With labels, the time outside every event of a recording that they
    list is noise-only, and the time inside one has signal; the stretches of either kind are joined, and a crop may span
    a join. Unknown time in such a recording is left out of both: time with labels that are not asked for, with a label
    of another channel, and noise-only stretches that are too short. All of a recording that is not listed may have
    signal.

    Args:
        recordings: noisy recordings: files, folders of files, or pairs (samples (T,) or (T, channels), rate in Hz). Or
            a Material, which says all of this and which labels count; the next five arguments are then left out.
        noise: recordings of noise alone, likewise.
        labels: label files for `recordings`: Audacity, Raven, CSV, BirdNET and more. For the recording that a row
            belongs to, see `partae_fast.labels.match_recordings`.
        clean: clean recordings of what is wanted, likewise.
        stems: songs, each a folder of stems.
        speech: speech, a folder for each speaker.
        system: a name in `partae_fast.systems.registry.systems()`, such as "field", "stowell2015" or "curro". What it
            needs and takes of the above, `partae info --model NAME` says.
        settings: the system's own, by name; see `Settings` in its file.
        options: how the training runs.
        older: `preset`, another name for `system`; and the keywords of version 0.1, which are deprecated.

    Where a process group of `torch.distributed` exists, its ranks train one model together (see `Trainer`): call `fit`
    on each with the same arguments. Each returns the model.

    Raises UserError, one line, for whatever is wrong with files, labels or settings.

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
            raise UserError("a Material says what is learned from; leave the other kinds and the label rules out")
        material = recordings
    else:
        material = Material(
            recordings, noise or (), path_list(labels), clean, path_list(stems), path_list(speech), Rules(**rules)
        )
    chosen = system_named(system)
    return chosen.fit(material, chosen.settings(settings), options)


def _with_older(
    settings: dict[str, Any], options: TrainingOptions, older: dict[str, Any]
) -> tuple[dict[str, Any], TrainingOptions, dict[str, Any]]:
    """Settings, options and label rules with those that the keywords of version 0.1 say."""
    known = {*_RULES, *_SETTINGS, *OPTION_NAMES}
    unknown = sorted(set(older) - known)
    if unknown:
        raise TypeError(f"fit has no argument {unknown[0]!r}; a system's own settings go into settings")
    if older:
        warnings.warn(
            f"fit({', '.join(older)}) is deprecated: use settings={{...}} for a system's settings, "
            "options=pf.TrainingOptions(...) how training runs, pf.Material(..., label_rules=) which labels count",
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
