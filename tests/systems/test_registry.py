"""Every system is found, says what it needs, and takes one road from the command line and from Python."""

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
    """In place of the training of a system."""


@pytest.fixture
def trained(monkeypatch):
    """What the training functions of the systems were called with; none trains."""
    calls = []

    def train(self, material, settings, options):
        calls.append((self.name, material, settings, options))
        raise Untrained

    monkeypatch.setattr(System, "fit", train)
    return calls


@pytest.mark.parametrize("name", systems())
def test_a_system_takes_one_road(name, trained, tmp_path):
    """`pf.fit` and `partae train` call the system's `fit` once, with the same settings."""
    kinds = system_named(name).needs or ("recordings", "noise")
    given = {kind: [str(tmp_path / f"{kind}.wav")] for kind in kinds}
    with pytest.raises(Untrained):
        pf.fit(system=name, options=TrainingOptions(steps=3), **given)
    flags = [part for kind, paths in given.items() for part in (*FLAGS[kind], *paths)]
    ordered = [*given.get("recordings", []), *(part for part in flags if part not in given.get("recordings", []))]
    with pytest.raises(Untrained):
        cli.main(["train", *ordered, "--model", name, "--steps", "3", "--out", str(tmp_path / "m.safetensors"), "-q"])
    (first, material, settings, options), (second, its_material, its_settings, its_options) = trained
    assert first == second == name and settings == its_settings == system_named(name).settings()
    assert all(list(getattr(material, kind)) == list(getattr(its_material, kind)) for kind in KINDS)
    assert (options.steps, options.seed, options.backend) == (its_options.steps, its_options.seed, its_options.backend)


@pytest.mark.parametrize("name", systems())
def test_settings_are_a_frozen_dataclass_whose_flags_have_help(name):
    kind = system_named(name).settings_type
    assert is_dataclass(kind) and kind.__dataclass_params__.frozen
    assert all(entry.metadata["help"] for entry in fields(kind))


def test_every_setting_is_a_flag_of_its_type(trained):
    arguments = ["train", "a.wav", "--model", "curro", "--out", "m", "--hidden", "7", "--learn-alpha", "--snr", "1.5"]
    with pytest.raises(Untrained):
        cli.main([*arguments, "-q"])
    settings = trained[0][2]
    assert (settings.hidden, settings.learn_alpha, settings.snr, settings.latents) == (7, True, 1.5, 1024)


def test_a_flag_of_another_system_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "a.wav", "--model", "curro", "--out", "m", "--low", "100"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --low 100; `partae train --model curro --help`" in capsys.readouterr().err


def test_names():
    assert next(iter(systems())) == registry.DEFAULT and system_named("conv") is system_named("field")
    with pytest.raises(pf.UserError, match="model 'nothere' is not known; choose one of field"):
        system_named("nothere")


@pytest.mark.parametrize(
    ("name", "material", "options", "message"),
    [
        ("cdae", pf.Material(), {}, "a folder of songs in stems .* must be given"),
        ("dense", pf.Material(clean=["a.wav"], speech=["b"]), {}, "does not learn from folders of speech"),
        ("dense", pf.Material(clean=["a.wav"]), {"cache": "c"}, "cache and reservoir are not for model dense"),
        ("field", pf.Material(["a.wav"], ["b.wav"]), {"reservoir": 5}, "give a cache folder too"),
    ],
)
def test_material_and_options_that_a_system_does_not_take(name, material, options, message):
    with pytest.raises(pf.UserError, match=message):
        pf.fit(material, system=name, options=TrainingOptions(**options))


def test_no_public_function_has_more_than_ten_arguments():
    """The ops apart, whose arguments are tensors."""
    ops = inspect.getmembers(pf.functional, inspect.isfunction)
    functions = {name: getattr(pf, name) for name in pf.__all__ if inspect.isfunction(getattr(pf, name))}
    plain = {name: f for name, f in functions.items() if name not in dict(ops)}
    assert "fit" in plain and save in plain.values()
    counts = {
        name: sum(p.kind is not p.VAR_KEYWORD for p in inspect.signature(f).parameters.values())
        for name, f in plain.items()
    }
    assert max(counts.values()) <= 10, counts
