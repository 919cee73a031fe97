"""`fit` and `prepare` with all settings as keywords, for short calls in tests."""

from dataclasses import fields

import partae_fast as pf
from partae_fast.labels import Rules
from partae_fast.systems.registry import DEFAULT, system_named
from partae_fast.training.material import path_list

_OPTIONS = {entry.name for entry in fields(pf.TrainingOptions)}
_RULES = {entry.name for entry in fields(Rules)}


def _split_keywords(keywords):
    """Return training options, label rules, and settings."""
    options = {name: value for name, value in keywords.items() if name in _OPTIONS}
    rules = {name: value for name, value in keywords.items() if name in _RULES}
    settings = {name: value for name, value in keywords.items() if name not in options and name not in rules}
    return pf.TrainingOptions(**options), Rules(**rules), settings


def fit(recordings=(), noise=(), labels=(), clean=(), stems=(), speech=(), system=DEFAULT, settings=None, **keywords):
    options, rules, more_settings = _split_keywords(keywords)
    material = pf.Material(
        recordings, noise or (), path_list(labels), clean, path_list(stems), path_list(speech), rules
    )
    return pf.fit(material, system=system, settings={**(settings or {}), **more_settings}, options=options)


def prepare(recordings, noise=(), labels=(), system=DEFAULT, **keywords):
    """Return the spectrograms that a system is trained on."""
    options, rules, settings = _split_keywords(keywords)
    material = pf.Material(recordings, noise or (), path_list(labels), label_rules=rules)
    return system_named(system).settings(settings).spectrograms(material, options)
