"""Tests of grids, names and members of sweeps."""

import numpy as np
import pytest

from partae_fast.errors import UserError
from partae_fast.sweeps.grid import SETTINGS, Member, combinations, name_of


def test_combinations_change_the_last_setting_fastest():
    rows = combinations({"penalty": [0.5, 1], "optimizer": "adam", "seed": ("3", 4)})
    assert [list(c.values()) for c in rows] == [[p, "adam", s] for p in (0.5, 1.0) for s in (3, 4)]
    assert list(rows[0]) == ["penalty", "optimizer", "seed"]
    assert combinations({"latents": np.arange(2, 4)}) == [{"latents": 2}, {"latents": 3}]
    assert combinations({}) == [{}]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"penalti": 1}, f"setting 'penalti' is not known; choose from {', '.join(SETTINGS)}"),
        ({"latents": [8, 8.5]}, "setting latents is 8.5; it must be a whole number"),
        ({"latents": "many"}, "setting latents is 'many'; it must be a whole number"),
        ({"penalty": ["0.5", ""]}, "setting penalty is ''; it must be a number"),
        ({"seed": []}, "setting seed has no value"),
    ],
)
def test_invalid_grid_is_refused(grid, message):
    with pytest.raises(UserError) as error:
        combinations(grid)
    assert message in str(error.value)


def test_names_are_safe_file_names():
    assert name_of({"penalty": 1.0, "rate": 1e-05, "third": 1 / 3}) == "penalty=1_rate=1e-05_third=0.3333333333333333"
    assert name_of({"noise": "../crowd, far"}) == "noise=..-crowd-far"


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        ({"a": 1}, "../a", "a member is called '../a'"),
        ({"a": "b" * 200}, "", "at most 160"),
        ({}, "", "a member is called ''"),
        ({"keep": 1}, "", "a setting is called keep"),
        ({"a": [1]}, "", r"setting a is \[1\]"),
        ({"a": float("inf")}, "", "setting a is inf"),
    ],
)
def test_invalid_member_is_refused(settings, name, message, make_model, make_sampler):
    with pytest.raises(UserError, match=message):
        Member(settings, make_model(), make_sampler(), name=name)
