"""A level that was asked for and did not take effect is a fault."""

import dataclasses
import platform

import pytest

from .instruction_levels import LEVELS, _not_in_effect

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the levels are of x86")


def test_a_level_that_does_not_take_effect():
    level = dataclasses.replace(
        LEVELS[0], threads=99, aten="none", vector_bytes=7, fused="perhaps", reports=("no such set", "no such set")
    )
    faults = list(_not_in_effect(level))
    named = ["threads", "ATen's capability", "VECTOR_BYTES", "fused multiply-add", "oneDNN's instruction set"]
    for quantity in named:
        assert sum(quantity in fault for fault in faults) == 1, faults
    assert "VECTOR_BYTES should be 7 and is" in "".join(faults)


def test_levels_have_names_of_their_own():
    assert len({level.name for level in LEVELS}) == len(LEVELS)
