"""Tests of the program that counts what an op costs beside its arithmetic."""

import json

import pytest
import torch

from partae_fast.bench import op_overhead, run, shapes

CALLGRIND = """
ob=(1) /usr/lib/libpython3.11.so
fn=(1) eval
12 100
cob=(2) ???
cfn=(2) kernel
calls=1 0
12 5000
ob=(2)
fn=(2)
0 5000
ob=(3) /lib/libtorch_cpu.so
fn=(3) at::native::mul_kernel
+3 70
fn=(4) c10::Dispatcher::call
* 30
"""


def test_instructions_are_counted_once_in_the_function_that_executed_them():
    counts = op_overhead.grouped(CALLGRIND.splitlines())
    expected = {
        op_overhead.PYTHON: 100,
        op_overhead.KERNELS: 5000,
        op_overhead.TORCH_KERNELS: 70,
        op_overhead.TORCH: 30,
    }
    assert dict(counts) == expected


def test_counts_of_the_calls(monkeypatch):
    monkeypatch.setattr(op_overhead, "SHAPES", [shapes.SMOKE])
    threads = torch.get_num_threads()
    counts = {name: op_overhead.counts_of(call) for name, call in op_overhead.calls_of().items()}
    assert torch.get_num_threads() == threads
    assert [counts[name]["kernel launches"] for name in counts] == [1, 1, 3, 7]
    forward, both = counts["partitioned_loss"], counts["partitioned_loss, backward"]
    assert both["saved tensors"] == 11 and "saved tensors" not in forward
    assert 0 < forward["Python functions"] < both["Python functions"] < 300  # 246 when this was written; 423 before
    assert counts["encode"]["PyTorch ops"] > 0


def test_the_committed_table_is_that_of_the_committed_counts():
    folder = run.FOLDER / "results" / "cpu"
    report = json.loads((folder / "op_overhead.json").read_text())
    assert op_overhead.table(report) + "\n" == (folder / "op_overhead.md").read_text()


@pytest.mark.parametrize("version", ["partae", "eager"])
def test_both_versions_have_the_same_calls(version, monkeypatch):
    monkeypatch.setattr(op_overhead, "SHAPES", [shapes.SMOKE])
    names = ["encode", "decode", "partitioned_loss", "partitioned_loss, backward"]
    assert list(op_overhead.calls_of(version)) == names
