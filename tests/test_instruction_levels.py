"""Tests of the check that a requested instruction level is in effect."""

import dataclasses
import platform

import pytest

from .instruction_levels import LEVELS, _not_in_effect

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the levels exist on x86 only")


def test_level_without_effect_is_reported():
    level = dataclasses.replace(
        LEVELS[0], threads=99, aten="none", vector_bytes=7, fused="perhaps", reports=("no such set", "no such set")
    )
    faults = list(_not_in_effect(level))
    quantities = ["threads", "ATen's capability", "VECTOR_BYTES", "fused multiply-add", "oneDNN's instruction set"]
    for quantity in quantities:
        assert sum(quantity in fault for fault in faults) == 1, faults
    assert "VECTOR_BYTES should be 7 and is" in "".join(faults)


def test_names_of_levels_are_unique():
    assert len({level.name for level in LEVELS}) == len(LEVELS)
