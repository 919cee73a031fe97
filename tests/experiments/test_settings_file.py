"""Settings files: written by runs, read by `partae reproduce --config`, and rejected in one line if unsuitable."""

from pathlib import Path

import pytest
import yaml

from partae_fast import cli
from partae_fast.cli import reproduce
from partae_fast.errors import UserError
from partae_fast.experiments.settings_file import read_settings, write_settings


def test_settings_are_read_as_they_were_written(tmp_path):
    settings = {"steps": 2, "penalty": [0.75, 12.0], "frames": None}
    path = write_settings(tmp_path, "stowell2015", settings, networks={"rate": 3})
    assert path.name == "settings.yaml" and read_settings(path, "stowell2015") == settings
    assert yaml.safe_load(path.read_text())["networks"] == {"rate": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("steps: 3", "has no paper and settings in YAML"),
        ("paper: [", "has no paper and settings in YAML"),
        ("paper: !!python/object/apply:os.getcwd []", "has no paper and settings in YAML"),
        ("paper: stowell2015\nsettings: {rate: 1e-x}", "--rate 1e-x is no option of stowell2015"),
        ('{"settings": {}}', "has no paper and settings in YAML"),
        ('{"paper": "kim2015", "settings": {}}', "has the settings of kim2015; give those of stowell2015"),
        ('{"paper": "stowell2015", "settings": {"step": 3}}', "--step 3 is no option of stowell2015"),
        ('{"paper": "stowell2015", "settings": {"data": "x"}}', "--data x is no option of stowell2015"),
        ('{"paper": "stowell2015", "settings": {"steps": 0}}', "argument --steps"),
        ('{"paper": "stowell2015", "settings": {"steps": true}}', "argument --steps"),
        ('{"paper": "stowell2015", "settings": {"optimizer": ["adam", "lion"]}}', "invalid choice: 'lion'"),
    ],
)
def test_unsuitable_files_are_rejected_in_one_line(text, message, tmp_path, capsys):
    path = tmp_path / "settings.yaml"
    if text is not None:
        path.write_text(text)
    assert cli.main(["reproduce", "stowell2015", "--data", str(tmp_path), "--config", str(path)]) == 2
    err = capsys.readouterr().err
    assert str(path) in err and message in err and err.count("\n") == 1


def test_numbers_may_be_written_as_people_write_them(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("paper: kim2015\nsettings:\n  learning_rate: 1e-6  # a string in YAML 1.1\n  hidden: 256\n")
    assert reproduce._settings_in(str(path), "kim2015") == {"learning_rate": 1e-6, "hidden": 256}


def test_options_have_priority_over_the_file(tmp_path, monkeypatch):
    path = write_settings(tmp_path, "lusterman2016", {"steps": 100, "as_program": True, "extras": False, "seeds": 3})
    calls = []
    paper = reproduce._PAPERS["lusterman2016"]

    def run(steps=1, as_program=False, extras=False, seeds=1, seed=0, out=None, jobs=None):
        calls.append((steps, as_program, extras, seeds, seed))
        return {"claims": [], "seconds": 0.0, "files": []}

    replaced = reproduce._Paper(paper.about, run, paper.add_settings, paper.add_files)
    monkeypatch.setitem(reproduce._PAPERS, "lusterman2016", replaced)
    assert cli.main(["reproduce", "lusterman2016", "--config", str(path), "--steps", "50", "-q"]) == 0
    assert calls == [(50, True, False, 3, 0)]


@pytest.mark.parametrize("name", reproduce._PAPERS)
def test_settings_of_the_paper_are_accepted(name):
    path = Path(reproduce.__file__).resolve().parents[2] / "bench" / "results" / name / "paper.yaml"
    settings = reproduce._settings_in(str(path), name)
    stored = read_settings(path, name)
    assert settings == {key: value for key, value in stored.items() if value is not False} and "seed" in settings


@pytest.mark.parametrize("name", reproduce._PAPERS)
def test_every_setting_is_an_argument_of_the_experiment(name):
    paper = reproduce._PAPERS[name]
    parser = paper.settings_parser()
    given = [action.dest for action in parser._actions]
    code = paper.run.__code__
    assert given and set(given) <= set(code.co_varnames[: code.co_argcount])
    assert vars(parser.parse_args([])) == {}  # what is not given is left to the experiment


def test_file_of_another_program_is_no_traceback(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("- 1\n- 2\n")
    with pytest.raises(UserError, match="has no paper and settings"):
        read_settings(path, "kim2015")
