"""Corpora: published layouts, other folders and errors."""

import numpy as np
import pytest

from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.sampling.corpora import sources_in


def write_recording(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, np.ones(8, np.float32) / 4, 8000, "PCM_16")


def names(sources):
    return {source: [path.name for path in paths] for source, paths in sources.items()}


def test_sources_of_librispeech_are_speakers(tmp_path):
    for name in ("84/121/84-121-0000", "84/121/84-121-0001", "84/200/84-200-0000", "174/50/174-50-0000"):
        write_recording(tmp_path / "dev-clean" / f"{name}.flac")
    (tmp_path / "dev-clean" / "84" / "121" / "84-121.trans.txt").write_text("84-121-0000 A B\n")
    assert names(sources_in(tmp_path)) == {
        "174": ["174-50-0000.flac"],
        "84": ["84-121-0000.flac", "84-121-0001.flac", "84-200-0000.flac"],
    }


def test_sources_of_urbansound_are_classes_of_the_selected_folds(tmp_path):
    rows = [("a.wav", 1, "siren"), ("b.wav", 2, "siren"), ("c.wav", 2, "drilling")]
    for name, fold, _ in rows:
        write_recording(tmp_path / "audio" / f"fold{fold}" / name)
    (tmp_path / "metadata").mkdir()
    table = tmp_path / "metadata" / "UrbanSound8K.csv"
    table.write_text("slice_file_name,fsID,fold,class\n" + "".join(f"{n},7,{f},{c}\n" for n, f, c in rows))
    assert names(sources_in(tmp_path)) == {"siren": ["a.wav", "b.wav"], "drilling": ["c.wav"]}
    assert names(sources_in(tmp_path, folds=[2])) == {"siren": ["b.wav"], "drilling": ["c.wav"]}
    with pytest.raises(UserError, match="lists no file of the selected folds"):
        sources_in(tmp_path, folds=[9])
    (tmp_path / "audio" / "fold2" / "c.wav").unlink()
    with pytest.raises(UserError, match=r"c\.wav: is in the table but does not exist"):
        sources_in(tmp_path)
    table.write_text("slice_file_name,fold\nx,one\n")
    with pytest.raises(UserError, match=r"UrbanSound8K\.csv: line 2 has no"):
        sources_in(tmp_path)


def test_sources_of_other_layouts_are_folders_and_single_files(tmp_path):
    for name in ("ann/one.wav", "ann/more/two.flac", "bob/one.wav", "rain.wav"):
        write_recording(tmp_path / name)
    assert names(sources_in(tmp_path)) == {"ann": ["two.flac", "one.wav"], "bob": ["one.wav"], "rain": ["rain.wav"]}


def test_folders_without_recordings_or_folds_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        sources_in(tmp_path / "missing")
    with pytest.raises(UserError, match="no recordings there"):
        sources_in(tmp_path)
    write_recording(tmp_path / "rain.wav")
    with pytest.raises(UserError, match="its files have no folds"):
        sources_in(tmp_path, folds=[1])
