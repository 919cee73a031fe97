"""Layouts of the tables that programs write."""

import pytest

from partae_fast.labels.columns import LAYOUTS


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.program)
@pytest.mark.parametrize("change", [str.lower, str.upper, lambda name: f" {name} "])
def test_column_names_ignore_case_and_surrounding_spaces(layout, change):
    header = [change(name) for name in layout.required.values()]
    assert layout.missing(header) == []
    assert sorted(layout.columns(header).values()) == list(range(len(header)))
    for index, name in enumerate(layout.required.values()):
        assert layout.missing(header[:index] + header[index + 1 :]) == [name]
