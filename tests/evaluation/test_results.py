"""The files of an evaluation."""

import csv
import json

import pytest

from partae_fast.errors import UserError
from partae_fast.evaluation import results
from partae_fast.evaluation.summary import summarise

from .conftest import score_rows


def test_result_files_are_written_and_not_overwritten(tmp_path):
    rows = score_rows([[1.0, 5.0], [3.0, 6.0]], [[2.0, 4.0], [3.5, 2.0]])
    written = {"environment": results.environment(), "settings": {"steps": 3}, "summary": summarise(rows), "rows": rows}
    folder = tmp_path / "new"
    results.prepare_folder(folder, False)
    results.write(folder, written)
    assert {path.name for path in folder.iterdir()} == {f"evaluation.{kind}" for kind in ("csv", "json", "md", "png")}
    assert json.loads((folder / "evaluation.json").read_text())["rows"] == rows
    read = list(csv.DictReader((folder / "evaluation.csv").read_text().splitlines()))
    assert [(r["scene"], float(r["si_sdr"])) for r in read] == [(r["scene"], r["si_sdr"]) for r in rows]
    text = (folder / "evaluation.md").read_text()
    assert "steps 3" in text and "| s1 | -5 | -5.0 | 3.5 | 3.0 |" in text
    assert (folder / "evaluation.png").stat().st_size > 10_000
    assert {"date", "threads", "versions"} <= set(written["environment"])
    results.prepare_folder(folder, True)
    with pytest.raises(UserError, match="exists already"):
        results.prepare_folder(folder, False)
    with pytest.raises(UserError, match="the folder cannot be created"):
        results.prepare_folder(folder / "evaluation.md" / "below", False)
