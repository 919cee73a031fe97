"""Tests of `partae verify`."""

import json
from pathlib import Path


def test_row_for_each_pass(partae):
    code, out, _ = partae("verify", "partitioned_loss", "--backend", "eager", "--json")
    rows = json.loads(out)
    assert code == 0 and rows
    assert all(row["backend"] == "eager" and row["op"] == "partitioned_loss" and row["passed"] for row in rows)
    table = partae("verify", "partitioned_loss", "--backend", "eager")[1].splitlines()
    assert (
        len(table) == len(rows) + 2
        and table[0].split()[0] == "op"
        and table[-1].startswith(f"{len(rows)} rows, 0 failed; seed ")
    )


def test_wrong_candidate_fails(partae):
    Path("mine.py").write_text(
        "from partae_fast.kernels.partitioned_loss import eager\n"
        "def partitioned_loss(*arguments):\n"
        "    loss, grad_r, grad_values = eager.partitioned_loss(*arguments)\n"
        "    return loss * 1.01, grad_r, grad_values\n"
    )
    asked = "--backend", "reference", "--candidate", "mine.py:partitioned_loss", "--type", "float32", "--seed", "7"
    code, out, _ = partae("verify", *asked)
    assert code == 1
    assert out.rstrip().endswith("seed 7")
    assert [line for line in out.splitlines() if "mine.py:partitioned_loss" in line and "FAILED" in line]
