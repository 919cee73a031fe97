"""Files of models and checkpoints changed at random, a few of what `python -m tests.fuzz model` tries."""

from hypothesis import HealthCheck, given, settings

from tests.fuzz import models as fuzz_models

FILES, check = fuzz_models.target()


@settings(max_examples=250, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(raw=FILES)
def test_whatever_the_file_it_is_read_or_refused_in_one_line(tmp_path_factory, raw):
    check(raw, tmp_path_factory.getbasetemp())


def test_the_seeds_themselves_are_read(tmp_path):
    assert [check(raw, tmp_path) for raw in fuzz_models.seeds()] == ["a model"] * 3 + ["a checkpoint"]
