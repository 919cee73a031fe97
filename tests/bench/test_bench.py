"""The benchmarks as programs: every contest runs, a wrong version is not timed, rows become a table and a plot."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.utils._python_dispatch

import partae_fast as pf
from partae_fast.bench import (
    affinity,
    candidate,
    ceilings,
    command,
    common,
    contrastive,
    conv2d_pool,
    curves,
    denoise,
    dense,
    encode,
    memory,
    peers,
    population,
    ratio_mask,
    render,
    shapes,
    snmf,
    startup,
    timing,
    train_step,
    upsample_conv2d,
)
from partae_fast.conformance.candidate import load_candidate
from partae_fast.errors import UserError

SMALL = {"B": 2, "N": 40, "H": 5, "K": 4, "M": 3, "P": 8}
SMALL_MAP = {"B": 2, "N": 3, "H": 10, "C": 2, "D": 3, "p": 1, "q": 5}
MEASURED = ceilings.ceilings
CEILINGS = {
    "flop_per_s": 1e11,
    "bandwidths": [[1 << 20, 1e11], [1 << 28, 1e10]],
    "bytes_per_s": 1e10,
    "barrier_seconds": 1e-7,
    "cache_bytes": 1 << 20,
    "rates": {"a product": 1e11},
    "skipped": {},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One round of one small shape, and peers that are not compiled: what is tested is not how fast they are."""
    monkeypatch.setattr(timing, "ROUNDS", 2)
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-4)
    monkeypatch.setattr(timing.measure, "__defaults__", (2,))
    monkeypatch.setattr(timing, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(timing, "WARM_SECONDS", 1e-4)
    monkeypatch.setattr(train_step, "LAUNCH_SECONDS", 1e-4)
    monkeypatch.setattr(population, "LAUNCH_SECONDS", 1e-4)
    monkeypatch.setattr(shapes, "SHAPES", [SMALL])
    monkeypatch.setattr(conv2d_pool, "SHAPES", [SMALL_MAP])
    monkeypatch.setattr(contrastive, "SHAPES", [{"B": 2, "T": 3, "F": 5, "D": 4, "S": 2}])
    monkeypatch.setattr(affinity, "SHAPES", [{"B": 2, "P": 15, "D": 4}])
    monkeypatch.setattr(ratio_mask, "SHAPES", [{"B": 2, "T": 3, "F": 5, "S": 2}])
    monkeypatch.setattr(snmf, "SHAPES", [{"N": 30, "H": 20, "K": 5}])
    monkeypatch.setattr(upsample_conv2d, "SHAPES", [SMALL_MAP])
    monkeypatch.setattr(train_step, "CONFIGURATIONS", [SMALL])
    monkeypatch.setattr(dense, "SHAPES", [{"B": 3, "I": 20, "O": 35}])
    monkeypatch.setattr(dense, "SUPERVISED", {"B": 3, "bins": 20, "hidden": 9})
    monkeypatch.setattr(dense, "CURRO", {"B": 3, "bins": 20, "encoder": 8, "decoder": 7})
    monkeypatch.setattr(curves, "BASE", SMALL)
    monkeypatch.setattr(curves, "AXES", {"B": (1, 2), "H=K": (4, 8)})
    for rounds in ("STEP_ROUNDS", "CURVE_ROUNDS", "QUICK_ROUNDS"):
        monkeypatch.setattr(command, rounds, 2)
    monkeypatch.setattr(memory, "peaks", lambda asked: [{"peak_bytes": 3, "held_bytes": 4} for _ in asked])
    monkeypatch.setattr(peers, "COMPILED", {})
    monkeypatch.setattr(command, "ceilings", lambda device: CEILINGS)
    monkeypatch.setattr(ceilings, "ceilings", lambda device: CEILINGS)
    monkeypatch.setattr(denoise.compare, "__defaults__", (2, 12))
    monkeypatch.setattr(startup, "seconds", lambda: {"cold": 2.0, "warm": 1.0})


def test_every_contest_is_checked_and_timed(tmp_path, capsys):
    assert command.main(None, tmp_path / "rows.json") == 0
    report = json.loads((tmp_path / "rows.json").read_text())
    contests = dict.fromkeys(row["op"] for row in report["rows"])
    assert list(contests) == [
        "affinity forward+backward",
        "contrastive forward+backward",
        "conv2d_pool",
        "conv2d_pool forward+backward",
        "decode",
        "decode forward+backward",
        "dense",
        "dense forward+backward",
        "dense step",
        "Curro step",
        "encode",
        "encode forward+backward",
        "partitioned_loss",
        "ratio_mask forward+backward",
        "upsample_conv2d",
        "upsample_conv2d forward+backward",
        "snmf activations",
        "snmf learning",
        "train step",
        "population",
        "denoise",
    ]
    for row in report["rows"]:
        if row["op"] == "denoise":
            continue
        assert row["error"] <= (snmf.GATE_OF_LEARNING if row["op"] == "snmf learning" else common.GATE)
        assert row["fault"] is None
        assert 0 < row["seconds_10"] <= row["seconds"] <= row["seconds_90"]
        assert row["floor_seconds"] > 0
        assert row["peer"] == (row["version"] != "cpu" and not row["version"].startswith("partae "))
    assert {"processor", "threads", "versions", "date", "commit"} <= set(report["environment"])
    assert "| encode | cpu | 2 40 5 4 3 8 | **cpu** |" in capsys.readouterr().out


def test_rows_become_a_table_and_a_plot(tmp_path):
    command.main("encode", tmp_path / "rows.json")
    report = json.loads((tmp_path / "rows.json").read_text())
    render.plot(report, tmp_path / "rows.png")
    assert (tmp_path / "rows.png").stat().st_size > 5000
    assert render.table(report).count("\n| encode") == 4


@pytest.mark.parametrize("op", command.CONTESTS)
def test_each_output_and_gradient_is_checked(op, capsys):
    module = importlib.import_module(f"partae_fast.bench.{op}")
    for shape in getattr(module, "shapes", shapes.shapes)("cpu"):
        for index, contest in enumerate(module.contests(shape, "cpu", ["cpu"])):
            name, right = next(iter(contest.ours.items()))
            for output, tensor in enumerate(contest.results(right)):
                if tensor.numel() == 0 or (tensor == 0).all():
                    continue
                contest = module.contests(shape, "cpu", ["cpu"])[index]
                results = contest.results
                contest.results = lambda call, results=results, output=output, right=contest.ours[name]: _off(
                    results(call), output if call is right else None
                )
                outcome = contest.run(shape, "cpu", CEILINGS)
                assert outcome.failed and name in outcome.not_timed, (contest.op, output)
                assert [row.version for row in outcome.rows if not row.peer] == []
                assert "not timed" in capsys.readouterr().out


def _off(outputs, wrong):
    """The outputs, one of them off by 1 % (positions: 0)."""
    return [
        t if n != wrong else t * 1.01 if t.is_floating_point() else torch.zeros_like(t) for n, t in enumerate(outputs)
    ]


def test_nan_does_not_pass_the_gate():
    found = common.deviation("x", torch.tensor([np.nan]), torch.tensor([1.0]).double())
    assert not found.error <= found.gate(by_library=True)


def test_gates_grow_with_what_a_library_sums():
    assert common.library_gate(1) == common.GATE
    assert common.library_gate(10**6) == pytest.approx(10 * 2**-24 * 1000)
    assert common.Deviation("x", 0.0, 10**6).gate(by_library=False) == common.GATE


def test_wrong_peers_are_not_timed(capsys):
    (contest, _) = importlib.import_module("partae_fast.bench.decode").contests(SMALL, "cpu", ["cpu"])
    contest.peers["spoilt"] = lambda: (contest.peers["eager"]()[0].relu(),)
    contest.peers["absent"] = lambda: torch.ops.partae.nothere()
    outcome = contest.run(SMALL, "cpu", CEILINGS)
    assert {row.version for row in outcome.rows} == {"cpu", "eager"}
    assert set(outcome.not_timed) == {"spoilt", "absent"} and outcome.failed
    del contest.peers["spoilt"]
    assert not contest.run(SMALL, "cpu", CEILINGS).failed  # a peer that is not there says nothing of ours


CANDIDATES = """
import functools
import torch
from partae_fast.kernels.decode import cpu as decoding
from partae_fast.kernels.dense import cpu as densely
from partae_fast.kernels.encode import cpu as encoding, eager
from partae_fast.kernels.conv2d_pool import cpu as maps
from partae_fast.kernels.partitioned_loss import cpu as losses

calls = 0


def encode(*arguments):
    global calls
    calls += 1
    return encoding.encode(*arguments)


compiled = torch.compile(eager.encode, backend="eager")
partial = functools.partial(encoding.encode, negative_slope=0.0)
encode_backward = encoding.encode_backward
decode_backward = decoding.decode_backward
dense_backward = densely.dense_backward


def without_negative_slope(x, w_enc, pool, mean, std):
    return encoding.encode(x, w_enc, pool, mean, std)


def positions_of_zeros(*arguments):
    values, positions = encoding.encode(*arguments)
    return values, torch.zeros_like(positions)


def later_frames(x, w_enc, pool, mean, std, negative_slope):
    values, positions = encoding.encode(x, w_enc, pool, mean, std, negative_slope)
    frames = torch.arange(positions.shape[1])[:, None]
    return values, torch.maximum(positions - 1, (frames * pool).int())


def zeroed_input(x, *arguments):
    found = encoding.encode(x, *arguments)
    x.zero_()
    return found


def clamped_filters(x, w_enc, *arguments):
    w_enc.clamp_(-0.1, 0.1)
    return encoding.encode(x, w_enc, *arguments)


def raising(*arguments):
    raise RuntimeError("no such kernel")


def in_float64(*arguments):
    values, positions = encoding.encode(*arguments)
    return values.double(), positions


def long_positions(*arguments):
    values, positions = encoding.encode(*arguments)
    return values, positions.long()


def one_window_less(*arguments):
    values, positions = encoding.encode(*arguments)
    return values[:, :-1].contiguous(), positions[:, :-1].contiguous()


def with_nan(*arguments):
    values, positions = encoding.encode(*arguments)
    values.view(-1)[-1] = torch.nan
    return values, positions


def wrong_from_the_50th_call(*arguments):
    global calls
    calls += 1
    values, positions = encoding.encode(*arguments)
    return values * (1.01 if calls > 50 else 1.0), positions


kept = {}


def one_buffer(*arguments):
    values, positions = encoding.encode(*arguments)
    kept.setdefault("values", torch.empty_like(values)).copy_(values)
    return kept["values"], positions


def remembered(x, *arguments):
    key = x.data_ptr()
    if key not in kept:
        kept[key] = encoding.encode(x, *arguments)
    return tuple(tensor.clone() for tensor in kept[key])


def no_work(*arguments):
    if "all" not in kept:
        kept["all"] = encoding.encode(*arguments)
    return tuple(tensor.clone() for tensor in kept["all"])


def scaled_gradient(*arguments):
    grad_x, grad_w = encoding.encode_backward(*arguments)
    return grad_x, 1.01 * grad_w


def no_gradient(*arguments):
    grad_values, grad_w = decoding.decode_backward(*arguments)
    return torch.zeros_like(grad_values), grad_w


def loss_of_123(*arguments):
    loss, *gradients = losses.partitioned_loss(*arguments)
    return torch.full_like(loss, 123.0), *gradients


def scaled_loss_gradient(*arguments):
    loss, grad_r, grad_values = losses.partitioned_loss(*arguments)
    return loss, grad_r, 1.01 * grad_values


def pool_of_zeros(*arguments):
    values, positions = maps.conv2d_pool(*arguments)
    return values, torch.zeros_like(positions)


adam = encode
train_steps = encode
"""


@pytest.fixture
def candidates(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CANDIDATES)
    return file


def _timed(path, op=None, candidate=None):
    """Versions of each contest that was timed, and the exit code."""
    code = command.main(op, path, candidate)
    rows = json.loads(path.read_text())["rows"]
    names = {contest: [r["version"] for r in rows if r["op"] == contest] for contest in {r["op"] for r in rows}}
    return names, code


@pytest.mark.parametrize("function", ["encode", "compiled", "partial", "without_negative_slope"])
def test_a_candidate_is_in_every_contest_of_its_op(function, candidates, tmp_path):
    name = f"mine.py:{function}"
    timed, code = _timed(tmp_path / "rows.json", "encode", f"{candidates}:{function}")
    assert code == 0
    assert timed == {
        "encode": ["cpu", name, "eager"],
        "encode forward+backward": ["cpu", name, "eager"],
    }


@pytest.mark.parametrize(("op", "function"), [("encode", "encode_backward"), (None, "decode_backward")])
def test_a_backward_candidate_is_timed_with_the_forward_pass(op, function, candidates, tmp_path):
    forward = function.removesuffix("_backward")
    timed, code = _timed(tmp_path / "rows.json", op, f"{candidates}:{function}")
    assert code == 0
    assert timed == {
        forward: ["cpu", "eager"],
        f"{forward} forward+backward": ["cpu", f"mine.py:{function}", "eager"],
    }


def test_a_candidate_of_a_layer_is_in_whole_steps_too(candidates, tmp_path):
    timed, code = _timed(tmp_path / "rows.json", None, f"{candidates}:dense_backward")
    assert code == 0
    assert timed.pop("dense") == ["cpu", "eager"]
    assert set(timed) == {"dense forward+backward", "dense step", "Curro step"}
    assert all(names == ["cpu", "mine.py:dense_backward", "eager"] for names in timed.values())


def test_a_candidate_takes_the_road_of_the_others(candidates, tmp_path, monkeypatch):
    """Public function, dispatcher and autograd: as many calls for the house's own kernel as for a candidate."""
    public, back_ends = pf.encode, []

    def counted(*arguments, backend="auto"):
        back_ends.append(backend)
        return public(*arguments, backend=backend)

    class Dispatched(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace == "partae":
                ops.append((func._opname, args[-1]))
            return func(*args, **(kwargs or {}))

    monkeypatch.setattr(pf, "encode", counted)
    mine, ops = load_candidate(f"{candidates}:encode"), []
    with candidate.as_backend(mine, "cpu"):
        forward, both = encode.contests(SMALL, "cpu", ["cpu", mine.name])
        for contest in (forward, both):
            back_ends.clear()
            ops.clear()
            with Dispatched():
                for call in contest.ours.values():
                    call()
            assert back_ends == ["cpu", mine.name]
            passes = ["encode"] if contest is forward else ["encode", "encode_backward"]
            assert ops == [(op_pass, name) for name in back_ends for op_pass in passes]
    assert mine.function.__globals__["calls"] == 2
    with pytest.raises(ValueError, match="not known"):
        pf.encode(torch.rand(1, 8, 2), torch.rand(3, 2, 1), 4, backend=mine.name)


@pytest.mark.parametrize(
    ("op", "function", "reason"),
    [
        ("encode", "positions_of_zeros", "positions lie outside"),
        ("encode", "later_frames", "positions is off"),
        ("encode", "zeroed_input", "changed its input x"),
        ("encode", "clamped_filters", "changed its input w_enc"),
        ("encode", "raising", "RuntimeError: no such kernel"),
        ("encode", "in_float64", "torch.float64, not torch.float32"),
        ("encode", "long_positions", "torch.int64"),
        ("encode", "one_window_less", "not (2, 5, 4)"),
        ("encode", "with_nan", "values is off by nan"),
        ("encode", "one_buffer", "a later call writes"),
        ("decode_backward", "no_gradient", "gradient of values is off by 1"),
        ("encode_backward", "scaled_gradient", "gradient of w_enc is off by 0.01"),
        ("partitioned_loss", "loss_of_123", "the loss is off"),
        ("partitioned_loss", "scaled_loss_gradient", "gradient of values is off by 0.01"),
        ("conv2d_pool", "pool_of_zeros", "positions is off"),
    ],
)
def test_a_wrong_candidate_is_not_timed(op, function, reason, candidates, tmp_path, capsys):
    timed, code = _timed(tmp_path / "rows.json", op, f"{candidates}:{function}")
    assert code == 1
    assert timed and all(f"mine.py:{function}" not in names for names in timed.values())
    (line, *_) = [line for line in capsys.readouterr().out.splitlines() if "not timed" in line]
    assert f"mine.py:{function}: " in line and reason in line


@pytest.mark.parametrize("function", ["wrong_from_the_50th_call", "remembered", "no_work"])
def test_a_candidate_that_is_wrong_later_is_struck(function, candidates, tmp_path, monkeypatch, capsys):
    def measure(calls, device):
        for _ in range(50):
            for call in calls.values():
                call()
        return timing.measure(calls, device, 1)

    monkeypatch.setattr(common, "measure", measure)
    timed, code = _timed(tmp_path / "rows.json", "encode", f"{candidates}:{function}")
    assert code == 1
    assert all(f"mine.py:{function}" not in names for names in timed.values())
    assert "values is off" in (out := capsys.readouterr().out) and "struck from the table" in out


def test_inputs_are_what_they_were_after_a_contest():
    for contest in encode.contests(SMALL, "cpu", ["cpu"]):
        before = {name: tensor.detach().clone() for name, tensor in contest.inputs.items()}
        contest.run(SMALL, "cpu", CEILINGS)
        assert all(common.same_bits(before[name], tensor) for name, tensor in contest.inputs.items())


@pytest.mark.parametrize("function", ["adam", "train_steps"])
def test_a_candidate_without_a_benchmark(function, candidates):
    with pytest.raises(UserError, match=f"no benchmark times {function}; those of affinity, contrastive"):
        command.main(None, candidate=f"{candidates}:{function}")


def test_a_candidate_of_another_op(candidates):
    with pytest.raises(UserError, match="is a pass of encode, not of decode; say: partae bench encode"):
        command.main("decode", candidate=f"{candidates}:encode")


@pytest.mark.parametrize("op", ["encode", "train-step"])
def test_more_than_the_floor_is_an_error(op, monkeypatch, tmp_path, capsys):
    slow = {**CEILINGS, "flop_per_s": 1.0}
    monkeypatch.setattr(command, "ceilings", lambda device: slow)
    assert command.main(op, tmp_path / "rows.json", quick=True) == 1
    out = capsys.readouterr().out
    assert "which nothing can reach" in out and "| ERROR: " in out
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert all(row["fraction_of_floor"] > 1 and "of the floor" in row["fault"] for row in rows)


def test_ceilings_measured_too_low_are_measured_again(monkeypatch, tmp_path):
    measured = iter([{**CEILINGS, "flop_per_s": 1.0}, CEILINGS])
    monkeypatch.setattr(command, "ceilings", lambda device: next(measured))
    assert command.main("decode", tmp_path / "rows.json") == 0
    report = json.loads((tmp_path / "rows.json").read_text())
    assert report["ceilings"]["cpu"]["flop_per_s"] == CEILINGS["flop_per_s"]
    assert all(row["fraction_of_floor"] < 1 and row["fault"] is None for row in report["rows"])


def test_a_share_within_the_margin_of_its_measurement_is_none():
    assert timing.fault(1.04) is None
    assert "106% of the floor" in timing.fault(1.06)
    assert "nan" in timing.fault(float("nan"))


def test_unknown_op():
    with pytest.raises(UserError, match="op 'encoder' is not known"):
        command.main("encoder")


def test_versions_take_turns():
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    samples = timing.measure(calls, "cpu", rounds=3)
    assert set(samples) == {"a", "b"}
    assert all(len(s) == 3 and (s > 0).all() for s in samples.values())
    assert "".join(order).rstrip("b").count("ba") >= 2


def test_needed_work_of_the_papers_configuration():

    configuration = {"B": 16, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16}
    assert shapes.dense(configuration).flop == pytest.approx(151e6, rel=0.01)
    assert shapes.sparse_flop(configuration, 1) == pytest.approx(9.4e6, rel=0.01)
    assert shapes.sparse_flop(configuration, 1, 100) == 2 * 100 * 9 * 32
    assert [shapes.run_products(1, 9), shapes.run_products(4, 3), shapes.run_products(4, 2)] == [1, 10, 7]


def test_a_training_step_that_changes_while_it_is_timed_is_struck(monkeypatch, capsys):
    prepared = train_step.prepare(SMALL, "cpu", ["partae cpu"], ["PyTorch eager"])
    losses = iter([1.0, 2.0, 1.01, 2.0])
    monkeypatch.setattr(train_step, "first_timed_loss", lambda version: next(losses))
    assert set(prepared.measured("cpu", 2)) == {"PyTorch eager"}
    assert prepared.wrong == ["partae cpu"]
    assert "struck from the table" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [1.02, float("nan")])
def test_a_wrong_training_step_is_not_timed(wrong, monkeypatch, capsys):
    build = train_step.build

    def spoilt(version, *given):
        found = build(version, *given)
        if version == "partae cpu":
            found.first_losses[3] *= wrong
        return found

    monkeypatch.setattr(train_step, "build", spoilt)
    rows, _, not_timed = train_step.compare(SMALL, "cpu", CEILINGS, rounds=2)
    assert "partae cpu" not in [row.version for row in rows]
    assert not_timed == ["partae cpu"]
    assert "not timed" in capsys.readouterr().out
    assert command.main("train-step", quick=True) == 1


def test_a_version_that_cannot_run_is_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(peers, "COMPILED", {"torch.compile": {"backend": "nothere"}})
    rows, skipped, wrong = train_step.compare(SMALL, "cpu", CEILINGS, rounds=2)
    assert {"partae cpu", "partae eager", "PyTorch eager"} == {row.version for row in rows}
    assert "nothere" in skipped["torch.compile"]
    assert wrong == []


def test_rows_of_training_steps():
    rows, skipped, wrong = train_step.compare(SMALL, "cpu", CEILINGS, rounds=2)
    assert wrong == []
    assert {name.split()[1] for name in skipped} <= {"triton", "cuda"}  # where there is no GPU
    ours, peer = (next(row for row in rows if row.version == name) for name in ("partae cpu", "PyTorch eager"))
    assert ours.steps_per_s == pytest.approx(1 / ours.seconds)
    assert ours.frames_per_s == pytest.approx(SMALL["B"] * SMALL["N"] / ours.seconds)
    assert ours.fraction_of_floor == pytest.approx(ours.floor_seconds / ours.seconds)
    assert ours.ratio_to_best_peer == pytest.approx(peer.seconds / ours.seconds)
    assert peer.ratio_to_best_peer == 1
    assert peer.adadelta in train_step.forms()
    assert ours.error < common.GATE
    assert ours.fault is None
    assert (ours.peak_bytes, ours.held_bytes) == (3, 4)


def test_every_sample_times_the_same_steps():
    for version in ("partae cpu", "PyTorch eager"):
        step = train_step.build(version, SMALL, "cpu")
        step.rewind()
        first = step().clone()
        step()
        step.rewind()
        assert torch.equal(step(), first)


def test_floor_of_a_training_step():
    paper = {"B": 16, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16}
    assert train_step.flop(paper) == pytest.approx(189e6, rel=0.01)
    arithmetic = train_step.flop(paper) / 1e11 + 2e-7
    assert train_step.floor(paper, {**CEILINGS, "cache_bytes": 1 << 30}) == pytest.approx(arithmetic)
    slow = {**CEILINGS, "bytes_per_s": 1e6}
    assert train_step.floor(paper, slow) == pytest.approx(arithmetic)  # recordings of 1 MB lie in the cache
    assert train_step.floor({**paper, "H": 64}, slow) == pytest.approx(4 * 8192 * 64 / 1e6 + 2e-7)
    tensor = {**CEILINGS, "cache_bytes": 1 << 30, "tf32_flop_per_s": 9e11}
    assert train_step.floor(paper, tensor, "tf32") == pytest.approx(37.7e6 / 1e11 + 2e-7, rel=0.01)
    assert train_step.floor(paper, tensor) == pytest.approx(151e6 / 3e11 + 2e-7, rel=0.01)


def test_a_population_has_its_row():
    (single, many), wrong = population.compare(SMALL, "cpu", CEILINGS, rounds=2, models=3)
    assert wrong == []
    assert (single.models, single.threads, many.models) == (1, 1, 3)
    assert many.steps_per_s == pytest.approx(3 / many.seconds)
    assert many.of_threads_times_single == pytest.approx(many.steps_per_s / (many.threads * single.steps_per_s))
    assert many.error == 0  # the same bits as alone
    assert torch.get_num_threads() == many.threads


def test_a_population_trains_for_a_while(tmp_path, capsys):
    population.main(["--models", "2", "--seconds", "0.01", "--results", str(tmp_path)])
    report = json.loads((tmp_path / "population.json").read_text())
    found = report["population"]
    assert found["seconds"] >= 0.01
    assert found["extrapolated_seconds"] == pytest.approx(found["seconds"] / found["steps_of_each"] * 1e6)
    assert "Extrapolated, not run: 1,000,000 steps" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the high-water mark is Linux's")
def test_what_a_step_allocates_shows():
    small, _ = memory.resident_peak(lambda: torch.ones(1000))
    large, _ = memory.resident_peak(lambda: torch.ones(25_000_000).sum())
    assert small < 20e6
    assert 90e6 < large < 130e6


def test_memory_is_measured_in_processes_of_their_own(monkeypatch):
    monkeypatch.undo()
    asked = [{"version": name, "shape": SMALL, "threads": 1, "form": "plain"} for name in ("PyTorch eager", "nothere")]
    found, failed = memory.peaks(asked)
    assert 0 <= found["peak_bytes"] < 50e6
    assert 0 < found["held_bytes"] < 500e6
    assert "nothere" in failed["failure"]


def test_curves_of_small_sizes(tmp_path, capsys):
    assert command.main("train-step", with_curves=True, quick=True, results=tmp_path) == 0
    assert "### cpu: B (N 40, H 5, K 4, M 3, P 8)" in capsys.readouterr().out
    report = json.loads((tmp_path / "curves.json").read_text())
    points = report["curves"]["cpu"]
    assert [(point["axis"], point["value"]) for point in points] == [("B", 1), ("B", 2), ("H=K", 4), ("H=K", 8)]
    for point in points:
        assert {"partae cpu", "PyTorch eager"} <= {row["version"] for row in point["rows"]}
        assert point["fixed_seconds"]["partae cpu"] > 0
    for name in ("train_step", "curves"):
        assert (tmp_path / f"{name}.md").read_text().startswith("Measured")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    render.main([str(tmp_path / "curves.json")])
    assert "| floor, ms |" in (tmp_path / "curves.md").read_text()


def test_text_says_where_the_cost_does_not_grow():
    def point(value, flop, seconds):
        rows = [{"version": "partae cpu", "seconds": seconds, "floor_seconds": 1e-6, "shapes": SMALL}]
        return {"axis": "B", "value": value, "flop": flop, "rows": rows, "fixed_seconds": {"partae cpu": 5e-4}}

    flat = [point(1, 1e6, 1e-3), point(4, 4e6, 1.1e-3), point(16, 16e6, 4.4e-3)]
    said = curves.text({"curves": {"cpu": flat}})
    assert "- partae cpu, B 1 to 4: 4 times the work takes 1.10 times as long, since 50% of the step" in said
    assert "16:" not in said
    grows = [point(1, 1e6, 1e-3), point(4, 4e6, 4e-3)]
    assert "grows as the work does all along" in curves.text({"curves": {"cpu": grows}})


def test_curves_belong_to_training_steps():
    with pytest.raises(UserError, match="train-step --curves"):
        command.main("encode", with_curves=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there():
    with pytest.raises(UserError, match="no CUDA device"):
        command.main("train-step", device="cuda")


def test_floor_is_the_slower_of_arithmetic_and_memory():
    assert timing.Work(2e11, 1e9).floor(CEILINGS) == pytest.approx(2.0)
    assert timing.Work(1e9, 2e10).floor(CEILINGS) == pytest.approx(2.0)
    assert timing.Work(0, 1 << 27).floor(CEILINGS) == pytest.approx((1 << 27) / 1e11)  # lies in a cache
    assert timing.Work(0, 1 << 19).floor(CEILINGS) == 0  # below all that was measured
    tensor_cores = {**CEILINGS, "tf32_flop_per_s": 9e11}
    assert timing.Work(3e11, 0).floor(tensor_cores) == pytest.approx(1.0)


def test_denoising_from_file_to_file(tmp_path, capsys):
    assert command.main("denoise", tmp_path / "rows.json") == 0
    report = json.loads((tmp_path / "rows.json").read_text())
    rows = {row["version"]: row for row in report["rows"]}
    ours = rows["partae default"]
    assert ours["times_real_time"] == pytest.approx(12 / ours["seconds"])
    peers_there = [row for row in rows.values() if row["peer"]]
    assert len(peers_there) == 2 or "noisereduce" in report["skipped"]["noisereduce stationary"]
    best = min((row["seconds"] for row in peers_there), default=None)
    assert ours["ratio_to_best_peer"] == (best and pytest.approx(best / ours["seconds"]))
    assert "| **partae paper's** |" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [1e-4, float("nan")])
def test_denoising_whose_chunks_differ_is_not_timed(wrong, monkeypatch, capsys):
    monkeypatch.setattr(denoise, "error", lambda model, audio: wrong)
    monkeypatch.setattr(denoise, "_peers", lambda source, target: ({}, {}))
    assert command.main("denoise") == 1
    out = capsys.readouterr().out
    assert "partae default: not timed" in out
    assert "**partae" not in out


def test_ceilings_of_this_machine(monkeypatch):
    monkeypatch.setattr(ceilings, "ROUNDS", 2)
    found = MEASURED("cpu")
    assert found["flop_per_s"] == max(*found["rates"].values(), found["one_thread_flop_per_s"]) > 1e9
    assert found["one_thread_flop_per_s"] > 1e9
    assert found["bytes_per_s"] > 1e8
    sizes, rates = zip(*found["bandwidths"], strict=True)
    assert sizes == ceilings.CPU_SETS and rates == tuple(sorted(rates, reverse=True))
    assert 0 < found["barrier_seconds"] < 1e-2
