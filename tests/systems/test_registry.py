"""Tests of the registry, and of every system in it."""

import inspect
from dataclasses import fields, is_dataclass

import pytest

import partae_fast as pf
from partae_fast import cli
from partae_fast.models.storage import save
from partae_fast.systems import registry
from partae_fast.systems.registry import System, system_named, systems
from partae_fast.training.material import KINDS
from partae_fast.training.options import TrainingOptions

FLAGS = {"recordings": [], "noise": ["--noise"], "clean": ["--clean"], "stems": ["--stems"], "speech": ["--speech"]}


class Untrained(Exception):
    """Raised instead of training a system."""


@pytest.fixture
def fit_calls(monkeypatch):
    """Replace the training of all systems; return the list of calls."""
    calls = []

    def train(self, material, settings, options):
        calls.append((self.name, material, settings, options))
        raise Untrained

    monkeypatch.setattr(System, "fit", train)
    return calls


@pytest.mark.parametrize("name", systems())
def test_fit_and_partae_train_are_equivalent(name, fit_calls, tmp_path):
    """`pf.fit` and `partae train` call the fit function with equal settings."""
    kinds = system_named(name).required or ("recordings", "noise")
    inputs = {kind: [str(tmp_path / f"{kind}.wav")] for kind in kinds}
    with pytest.raises(Untrained):
        pf.fit(system=name, options=TrainingOptions(steps=3), **inputs)
    flags = [part for kind, paths in inputs.items() for part in (*FLAGS[kind], *paths)]
    ordered = [*inputs.get("recordings", []), *(part for part in flags if part not in inputs.get("recordings", []))]
    with pytest.raises(Untrained):
        cli.main(["train", *ordered, "--model", name, "--steps", "3", "--out", str(tmp_path / "m.safetensors"), "-q"])
    python_call, command_call = fit_calls
    python_name, material, settings, options = python_call
    command_name, command_material, command_settings, command_options = command_call
    assert python_name == command_name == name
    assert settings == command_settings == system_named(name).settings()
    assert all(list(getattr(material, kind)) == list(getattr(command_material, kind)) for kind in KINDS)
    for option in ("steps", "seed", "backend"):
        assert getattr(options, option) == getattr(command_options, option)


@pytest.mark.parametrize("name", systems())
def test_settings_are_a_frozen_dataclass_with_help(name):
    settings_type = system_named(name).settings_type
    assert is_dataclass(settings_type) and settings_type.__dataclass_params__.frozen
    assert all(entry.metadata["help"] for entry in fields(settings_type))


def test_settings_are_flags(fit_calls):
    arguments = ["train", "a.wav", "--model", "curro", "--out", "m", "--hidden", "7", "--learn-alpha", "--snr", "1.5"]
    with pytest.raises(Untrained):
        cli.main([*arguments, "-q"])
    settings = fit_calls[0][2]
    assert (settings.hidden, settings.learn_alpha, settings.snr, settings.latents) == (7, True, 1.5, 1024)


def test_flag_of_another_system_is_refused(capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(["train", "a.wav", "--model", "curro", "--out", "m", "--low", "100"])
    assert error.value.code == 2
    assert "unrecognized arguments: --low 100; `partae train --model curro --help`" in capsys.readouterr().err


def test_systems_by_name():
    assert next(iter(systems())) == registry.DEFAULT and system_named("conv") is system_named("field")
    with pytest.raises(pf.UserError, match="model 'nothere' is not known; choose one of field"):
        system_named("nothere")


@pytest.mark.parametrize(
    ("name", "material", "options", "message"),
    [
        ("cdae", pf.Material(), {}, "model cdae needs folders of songs as stems"),
        ("dense", pf.Material(clean=["a.wav"], speech=["b"]), {}, "model dense cannot be trained on folders of speech"),
        ("dense", pf.Material(clean=["a.wav"]), {"cache": "c"}, "model dense does not support cache and reservoir"),
        ("field", pf.Material(["a.wav"], ["b.wav"]), {"reservoir": 5}, "give a cache folder too"),
    ],
)
def test_unsupported_material_and_options_are_refused(name, material, options, message):
    with pytest.raises(pf.UserError, match=message):
        pf.fit(material, system=name, options=TrainingOptions(**options))


def test_no_public_function_has_more_than_ten_arguments():
    """Except for the ops, which take many tensors."""
    ops = inspect.getmembers(pf.functional, inspect.isfunction)
    functions = {name: getattr(pf, name) for name in pf.__all__ if inspect.isfunction(getattr(pf, name))}
    checked = {name: f for name, f in functions.items() if name not in dict(ops)}
    assert "fit" in checked and save in checked.values()
    counts = {
        name: sum(p.kind is not p.VAR_KEYWORD for p in inspect.signature(f).parameters.values())
        for name, f in checked.items()
    }
    assert max(counts.values()) <= 10, counts
