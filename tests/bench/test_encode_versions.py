"""Tests of the versions of encode that docs/kernels.md explains."""

import pytest

from partae_fast.bench import encode_versions
from partae_fast.bench.encode_versions import SHAPE, TOLERANCE, VERSIONS, compare, error, inputs, table

SMALL = {"B": 2, "N": 48, "H": 5, "K": 8, "M": 4, "P": 8}


@pytest.mark.parametrize("shape", [SMALL, SHAPE | {"B": 1}])
@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_agrees_with_the_reference(name, shape):
    assert error(VERSIONS[name], inputs(shape)) <= TOLERANCE


def test_a_wrong_version_is_not_timed(monkeypatch):
    def wrong(*arguments):
        values, positions = encode_versions.from_numpy(*arguments)
        return values * 1.001, positions

    monkeypatch.setitem(VERSIONS, "numpy", wrong)
    with pytest.raises(AssertionError, match="numpy is off by"):
        compare(SMALL, rounds=1)


def test_rows_become_a_table():
    report = compare(SMALL, rounds=2)
    assert [row["version"] for row in report["rows"]] == list(VERSIONS)
    assert all(0 < row["seconds_10"] <= row["seconds"] <= row["seconds_90"] for row in report["rows"])
    assert table(report).count("\n") == 1 + len(VERSIONS)
