"""Tests of the benchmarks: every version is checked, a wrong one is not timed, pytest-benchmark gets the samples."""

import importlib
import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.utils._python_dispatch

import partae_fast as pf
from partae_fast.bench import (
    bench_denoise,
    candidate,
    ceilings,
    common,
    conftest,
    curves,
    memory,
    passes,
    peers,
    population,
    render,
    run,
    session,
    shapes,
    timing,
    train_step,
)
from partae_fast.bench.session import Options, Session
from partae_fast.conformance.candidate import load_candidate
from partae_fast.conformance.candidate import passes as candidate_passes
from partae_fast.errors import UserError
from tests.conftest import without_xdist

SMALL = shapes.SMOKE
CEILINGS = {
    "flop_per_s": 1e11,
    "bandwidths": [[1 << 20, 1e11], [1 << 28, 1e10]],
    "bytes_per_s": 1e10,
    "barrier_seconds": 1e-7,
    "cache_bytes": 1 << 20,
    "rates": {"a product": 1e11},
    "skipped": {},
}


def declared() -> dict:
    """Return every benchmark by the name of its function, except those that time whole processes."""
    modules = [importlib.import_module(f"partae_fast.bench.{path.stem}") for path in run.FOLDER.glob("bench_*.py")]
    functions = {
        name: value for module in modules for name, value in vars(module).items() if hasattr(value, "declared")
    }
    return {name: function.declared for name, function in sorted(functions.items())}


DECLARED = declared()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Shorten the samples, because the tests do not depend on the times."""
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-4)
    monkeypatch.setattr(timing, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(timing, "WARM_SECONDS", 1e-4)
    monkeypatch.setattr(train_step, "LAUNCH_SECONDS", 1e-4)
    monkeypatch.setattr(population, "LAUNCH_SECONDS", 1e-4)
    monkeypatch.setattr(peers, "COMPILED", {})
    monkeypatch.setattr(session, "ceilings", lambda device, rounds: CEILINGS)


def contest_of(name: str, op_pass: str, backends: tuple[str, ...] = ("cpu",)) -> common.Contest:
    benchmark = DECLARED[f"bench_{name}"]
    return benchmark.build(op_pass, benchmark.smoke, "cpu", list(backends))


def checked(options: Options, name: str, only: str | None = None) -> dict[str, session.Group]:
    """Return the groups of a benchmark by pass; their versions, or `only` one, are checked without timing."""
    run_session, benchmark = Session(replace(options, smoke=True)), DECLARED[f"bench_{name}"]
    cases = [case for case in run_session.cases(benchmark) if only in (None, case.version)]
    versions = {case.group: [c.version for c in cases if c.group == case.group] for case in cases}
    return {case.op_pass: run_session.group(benchmark, case, versions[case.group], False) for case in cases}


@pytest.fixture
def run_pytest(monkeypatch, capsys):
    """Return run_pytest(*arguments), which runs pytest in this process and returns its exit code and output."""
    monkeypatch.chdir(run.FOLDER.parent)
    for name in os.environ.keys() - without_xdist().keys():
        monkeypatch.delenv(name)

    def called(*arguments: str) -> tuple[int, str]:
        code = pytest.main(["-v", "-W", "ignore", *arguments])
        return code, "".join(capsys.readouterr())

    return called


@pytest.mark.slow
@pytest.mark.parametrize(
    "selection",
    [
        pytest.param("bench_partitioned_loss and not autotune", id="versions of one"),
        pytest.param("not bench_denoise", id="versions of all", marks=pytest.mark.exhaustive),  # `timed` runs it
    ],
)
def test_every_benchmark_runs_with_correct_results(selection, run_pytest):
    """`test_each_output_and_gradient_is_checked` runs the versions of all that are not compiled."""
    code, output = run_pytest("bench", "--smoke", "-k", selection)
    assert code == 0, output
    assert " passed" in output and "failed" not in output


def test_versions_and_passes_of_every_benchmark():
    cases = [case for benchmark in DECLARED.values() for case in Session(Options()).cases(benchmark)]
    assert len({(case.group, case.version) for case in cases}) == len(cases) > 150
    assert {case.group.rpartition(" ")[0] for case in cases} == {
        "Curro step",
        "adaptive-dae step",
        "affinity both",
        "cdae step",
        "contrastive both",
        "conv2d_pool backward",
        "conv2d_pool both",
        "conv2d_pool forward",
        "dae-30 step",
        "decode backward",
        "decode both",
        "decode forward",
        "denoise file-to-file",
        "dense backward",
        "dense both",
        "dense forward",
        "dense step",
        "dense-deep step",
        "dense-partitioned step",
        "encode backward",
        "encode both",
        "encode both-x",
        "encode forward",
        "fnn step",
        "partitioned_loss both",
        "population step",
        "ratio_mask both",
        "sce-mi step",
        "snmf activations",
        "snmf learning",
        "train step",
        "upsample_conv2d backward",
        "upsample_conv2d both",
        "upsample_conv2d forward",
    }


def test_every_declared_version_is_built():
    for name, benchmark in DECLARED.items():
        backends = benchmark.backends("cpu")
        contest = benchmark.build(benchmark.passes[0], benchmark.smoke, "cpu", backends)
        assert set(benchmark.versions(benchmark.passes[0], "cpu", backends)) == {*contest.ours, *contest.peers}, name


@pytest.mark.parametrize("name", ["encode", "conv2d_pool", "contrastive"])
def test_versions_on_a_gpu(name):
    """Peers and partae's ops are captured in graphs, and partae's ops are compiled too; a backward pass is no graph."""
    benchmark = DECLARED[f"bench_{name}"]
    versions = benchmark.versions("both", "cuda", ["triton"])
    assert {"triton", "torch.compile of triton", "eager", "torch.compile reduce-overhead"} < set(versions)
    captured = {version.removeprefix(common.GRAPH) for version in versions if version.startswith(common.GRAPH)}
    assert captured == {v for v in versions if not v.startswith(common.GRAPH) and "reduce-overhead" not in v}
    assert ("CUDA graph of eager, channels first" in versions) == (name == "conv2d_pool")
    assert not any(version.startswith(common.GRAPH) for version in benchmark.versions("backward", "cuda", ["triton"]))
    assert len(set(versions)) == len(versions)


def test_partaes_ops_are_compiled_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: (function, options))
    assert passes.with_compiled({"triton": abs}, "cuda") == {"triton": abs, "torch.compile of triton": (abs, {})}
    assert passes.with_compiled({"cpu": abs}, "cpu") == {"cpu": abs}


def test_forms_of_adadelta(monkeypatch):
    """On a GPU the optimizer is compiled too, and always in a captured compiled step."""
    assert train_step.forms("cuda") == [*train_step.forms("cpu"), "compiled"]
    assert train_step.form_of("CUDA graph of torch.compile", "foreach") == "compiled"
    assert train_step.form_of("CUDA graph of PyTorch eager", "foreach") == "foreach"
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda step: compiled.append(step) or step)
    steps = [train_step.build(train_step.EAGER, SMALL, "cpu", form) for form in ("foreach", "compiled")]
    assert steps[0].first_losses == pytest.approx(steps[1].first_losses, rel=1e-6)
    assert len(compiled) == 1


@pytest.mark.parametrize("name", ["decode", "conv2d_pool"])
def test_rows_in_bfloat16(name):
    """Both sides run under autocast; a kernel without bfloat16 is skipped with the reason, not wrong."""
    for group in checked(Options(type="bfloat16"), name).values():
        assert "eager" in group.correct and not group.wrong
        assert "takes torch.float32" in group.unable["cpu"] or "takes float32" in group.unable["cpu"]
    names = {n for n, b in DECLARED.items() if list(Session(Options(type="bfloat16")).cases(b))}
    assert "bench_encode" in names and not {"bench_train_step", "bench_cdae_step", "bench_denoise"} & names


SAMPLES = (
    "bench/bench_decode.py",
    "--shape",
    "2,40,5,4,3,8",
    "--pass",
    "forward",
    "-k",
    "not compile",
    "--rounds",
    "4",
)


WRONG = """
from partae_fast.kernels.decode import cpu

def decode(*arguments):
    return cpu.decode(*arguments) * 1.01
"""


@pytest.mark.slow
def test_pytest_benchmark_gets_the_samples(tmp_path, run_pytest):
    """The timer that replays samples, and the comparison of runs, work with the installed pytest-benchmark.

    A wrong version fails only its own test.
    """
    file = tmp_path / "decode.json"
    (tmp_path / "mine.py").write_text(WRONG)
    code, output = run_pytest(*SAMPLES, f"--benchmark-json={file}", "--candidate", f"{tmp_path}/mine.py:decode")
    assert code == 1 and "1 failed, 2 passed" in output, output
    assert "mine.py:decode: the reconstruction is off by 0.01, above" in output
    assert "| **mine.py" not in output
    assert "| decode forward | cpu | 2 40 5 4 3 8 | **cpu** |" in output
    report = json.loads(file.read_text())
    assert [entry["name"] for entry in report["benchmarks"]] == [
        "bench_decode[forward-2,40,5,4,3,8-cpu]",
        "bench_decode[forward-2,40,5,4,3,8-eager]",
    ]
    for entry in report["benchmarks"]:
        row, stats = entry["extra_info"], entry["stats"]
        assert entry["group"] == "decode forward 2,40,5,4,3,8"
        assert entry["params"] == {"op_pass": "forward", "shape": "2,40,5,4,3,8", "version": row["version"]}
        assert len(stats["data"]) == stats["rounds"] == row["samples"] == 4
        assert np.median(stats["data"]) == pytest.approx(row["seconds"])
        assert row["error"] < common.GATE and row["fault"] is None and row["floor_seconds"] > 0
        assert {"gflop_per_s", "gbyte_per_s", "fraction_of_floor", "ratio_to_best_peer", "load", "commit"} <= set(row)
    assert {"processor", "threads", "versions"} <= set(report["machine_info"])
    assert report["ceilings"] == {"cpu": CEILINGS} and report["environment"]["date"]
    compare = (f"--benchmark-compare={file}", f"--benchmark-storage={tmp_path}")  # as in run.py
    code, output = run_pytest(*SAMPLES, *compare, "--benchmark-compare-fail=median:1000%")
    assert code == 0, output
    assert "(decode)" in output and "(NOW)" in output and "machine_info is different" not in output
    assert render.rows_of(report)[0]["seconds"] == pytest.approx(report["benchmarks"][0]["stats"]["median"])
    render.main([str(file), "--split", str(tmp_path / "parts")])
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"decode.json", "decode.md", "decode.png"}
    part = json.loads((tmp_path / "parts" / "decode.json").read_text())
    rows = [{key: row[key] for key in row if key not in render.FACTS} for row in render.rows_of(report)]
    assert render.rows_of(part) == rows and "data" not in part["benchmarks"][0]["stats"]


def test_the_timer_gives_each_duration():
    timer = conftest.Replay()
    timer.load([0.5, 0.25])
    readings = [timer() for _ in range(4)]
    assert [readings[1] - readings[0], readings[3] - readings[2]] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": "2,x"}, "--shape '2,x': give whole numbers"),
        ({"shape": "2,0"}, "--shape '2,0': give whole numbers"),
        ({"type": "tf32", "device": "cpu"}, "--type tf32 is for a GPU"),
        ({"candidate": "nothere.py:decode"}, "no file nothere.py"),
    ],
)
def test_invalid_settings_are_rejected(settings, message):
    options = dict.fromkeys(("device", "shape", "op_pass", "candidate", "candidate_op", "quick", "smoke", "rounds"))
    with pytest.raises(UserError, match=re.escape(message)):
        conftest._options(SimpleNamespace(**{**options, "type": "float32", "memory": False} | settings))


def test_a_selection_without_benchmarks(run_pytest):
    code, output = run_pytest("bench/bench_decode.py", "--shape", "2,3")
    assert code == 4 and "--shape 2,3: no benchmark matches" in output


def test_options_of_the_page_exist(pytestconfig):
    page = (run.FOLDER.parent / "docs" / "benchmarking.md").read_text()
    (block,) = re.findall(r"^```sh\n(pytest bench.*?)^```", page, re.MULTILINE | re.DOTALL)
    options = set(re.findall(r"--([a-z-]+)", block))
    ours = set(re.findall(r'addoption\("--([a-z-]+)"', Path(conftest.__file__).read_text()))
    assert len(options) > 6
    for option in options - ours:
        assert pytestconfig.getoption(option.replace("-", "_"), "absent") != "absent", option


def test_names_of_benchmarks():
    assert {"encode", "train-step", "denoise", "startup", "systems", "cdae-step"} <= set(run.names())
    with pytest.raises(UserError, match="'encoder' is not known; choose one of adaptive-dae-step, affinity"):
        run.main("encoder", [])


def test_without_pytest_benchmark(monkeypatch):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"pytest and pytest_benchmark not installed; pip install 'partae-fast\[test\]'"
    ):
        run.main("encode", [])


def test_the_arguments_of_pytest(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(pytest, "main", lambda arguments: calls.append(arguments) or 4)
    assert run.main("train_step", ["--quick"], "rows.json") == 2
    (arguments,) = calls
    assert arguments[0] == str(run.FOLDER / "bench_train_step.py")
    assert {"--quick", "--candidate-op=train_steps", "--benchmark-json=rows.json", "--benchmark-quiet"} < set(arguments)
    file = tmp_path / "before.json"
    file.touch()
    run.main("decode", [], compare=str(file))
    assert {f"--benchmark-compare={file}", f"--benchmark-storage={tmp_path}"} < set(calls[-1])
    run.main("fnn-step", [])
    assert calls[-1][0] == f"{run.FOLDER / 'bench_systems.py'}::bench_fnn_step"
    monkeypatch.setattr(pytest, "main", lambda arguments: 2)
    with pytest.raises(KeyboardInterrupt):
        run.main(None, [])


def test_a_commit_is_checked_out_with_the_current_benchmarks(tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    (repository / "bench").mkdir(parents=True)
    files = {"bench/bench_a.py": "first", "bench/bench_old.py": "first", "kernel.py": "first"}
    for name, text in files.items():
        (repository / name).write_text(text)
    git = ("git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (repository / "bench" / "bench_old.py").unlink()
    for name in ("bench/bench_a.py", "kernel.py"):
        (repository / name).write_text("second")
    monkeypatch.setattr(run, "FOLDER", repository / "bench")
    with run._checked_out("HEAD", tmp_path / "tree") as tree:
        assert (tree / "kernel.py").read_text() == "first" and (tree / "bench/bench_a.py").read_text() == "second"
        assert not (tree / "bench/bench_old.py").exists()
    assert not (tmp_path / "tree").exists()
    with pytest.raises(UserError, match="--compare 'nothere' is neither a file nor a commit"):
        run.main("a", [], compare="nothere")


def test_rows_become_a_table_and_a_plot(tmp_path):
    contest = contest_of("encode", "forward")
    outcome = contest.run("cpu", rounds=2)
    rows = [row.to_dict() for row in contest.rows(outcome, SMALL, "cpu", CEILINGS)]
    report = {"environment": timing.environment(), "ceilings": {"cpu": CEILINGS}, "rows": rows}
    (tmp_path / "rows.json").write_text(json.dumps(report))
    render.main([str(tmp_path / "rows.json")])
    assert (tmp_path / "rows.md").read_text().count("\n| encode forward | cpu | 2 40 5 4 3 8 |") == 2
    assert (tmp_path / "rows.png").stat().st_size > 5000


@pytest.mark.parametrize("name", ["encode", "train_step", "denoise", "startup", "curves"])
def test_committed_results_still_render(name, tmp_path):
    committed = run.FOLDER / "results" / "cpu" / f"{name}.json"
    (tmp_path / committed.name).write_bytes(committed.read_bytes())
    render.main([str(tmp_path / committed.name)])
    assert (tmp_path / f"{name}.md").read_text().startswith("Measured")


CHECKED = [name for name in DECLARED if name != "bench_denoise"]  # whose chunks are compared with each other


@pytest.mark.parametrize("name", CHECKED)
def test_each_output_and_gradient_is_checked(name):
    """The versions that are not compiled are correct, and an error in an output or a gradient of one is detected."""
    benchmark = DECLARED[name]
    for op_pass in benchmark.passes:
        contest = benchmark.build(op_pass, benchmark.smoke, "cpu", [*benchmark.backends("cpu")])
        version = "partae cpu" if name == "bench_train_step" else next(iter(contest.ours))
        results = getattr(contest.ours[version], "results", contest.ours[version])
        outcome = contest.run("cpu", uncompiled := _uncompiled(benchmark, op_pass), timed=False)
        assert not outcome.wrong and outcome.unable.keys() <= {"partae triton", "partae cuda"}, outcome
        assert outcome.errors.keys() | outcome.unable.keys() == uncompiled and version in outcome.errors, outcome
        for output, tensor in list(enumerate(results()))[:: max(1, len(results()) // 8)]:  # a network has many
            if tensor.numel() == 0 or (tensor == 0).all():
                continue
            contest.ours[version] = lambda results=results, output=output: _with_error(results(), output)
            outcome = contest.run("cpu", [version], timed=False)
            assert version in outcome.wrong and not outcome.errors, (op_pass, output)


def _uncompiled(benchmark, op_pass):
    versions = benchmark.versions(op_pass, "cpu", benchmark.backends("cpu"))
    return {version for version in versions if "torch.compile" not in version}


def _with_error(outputs, wrong):
    """Return the outputs with an error of 1 % in one of them; wrong positions are 0."""
    return [
        t if n != wrong else t * 1.01 if t.is_floating_point() else torch.zeros_like(t) for n, t in enumerate(outputs)
    ]


def test_a_backward_pass_uses_the_current_inputs():
    contest = contest_of("decode", "backward")
    first = contest.ours["cpu"].results()
    with torch.no_grad():
        contest.inputs["w_dec"].mul_(2)
    second = contest.ours["cpu"].results()
    assert torch.equal(second[0], 2 * first[0]) and torch.equal(second[1], 2 * first[1])
    assert len(first) == 3 and isinstance(contest.ours["cpu"], passes.Pass)


def test_nan_does_not_pass_the_gate():
    deviation = common.deviation("x", torch.tensor([np.nan]), torch.tensor([1.0]).double())
    assert not deviation.error <= deviation.gate(by_library=True)


def test_gates_grow_with_the_number_of_terms_of_a_library():
    assert common.library_gate(1) == common.GATE
    assert common.library_gate(10**6) == pytest.approx(10 * 2**-24 * 1000)
    assert common.Deviation("x", 0.0, 10**6).gate(by_library=False) == common.GATE


def test_wrong_peers_are_not_timed():
    contest = contest_of("decode", "forward")
    contest.peers["wrong"] = lambda: (contest.peers["eager"]()[0].relu(),)
    contest.peers["absent"] = lambda: torch.ops.partae.nothere()
    outcome = contest.run("cpu", rounds=2)
    assert set(outcome.samples) == {"cpu", "eager"}
    assert set(outcome.wrong) == {"wrong"} and set(outcome.unable) == {"absent"}


CANDIDATES = """
import functools
import torch
from partae_fast.kernels.decode import cpu as decoding
from partae_fast.kernels.dense import cpu as densely
from partae_fast.kernels.encode import cpu as encoding, eager
from partae_fast.kernels.conv2d_pool import cpu as maps
from partae_fast.kernels.curro_loss import cpu as curro
from partae_fast.kernels.partitioned_loss import cpu as losses
from partae_fast.kernels.ratio_mask import cpu as ratio_mask
from partae_fast.kernels.upsample_conv2d import cpu as upsampling
from partae_fast.kernels.train_steps import cpu as steps_of

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
    result = encoding.encode(x, *arguments)
    x.zero_()
    return result


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


def scaled_upsample(*arguments):
    return 1.01 * upsampling.upsample_conv2d(*arguments)


adam = encode
curro_loss = curro.curro_loss
ratio_mask_loss = ratio_mask.ratio_mask_loss
upsample_conv2d = upsampling.upsample_conv2d


def train_steps(runs, first, steps):
    return steps_of.train_steps(runs, first, steps)
"""


@pytest.fixture
def candidates(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CANDIDATES)
    return file


def options_of(candidates: Path, function: str, op: str | None = None) -> Options:
    return Options(candidate=candidate.load(f"{candidates}:{function}", op))


@pytest.mark.parametrize(
    ("op", "function", "passes"),
    [
        ("encode", "encode", {"forward", "both", "both-x"}),
        ("encode", "compiled", {"forward", "both", "both-x"}),
        ("encode", "partial", {"forward", "both", "both-x"}),
        ("encode", "without_negative_slope", {"forward", "both", "both-x"}),
        ("encode", "encode_backward", {"backward", "both", "both-x"}),
        ("decode", "decode_backward", {"backward", "both"}),
        ("dense", "dense_backward", {"backward", "both"}),
        ("dense_step", "dense_backward", {"step"}),
        ("curro_step", "dense_backward", {"step"}),
        ("curro_step", "curro_loss", {"step"}),
        ("adaptive_dae_step", "dense_backward", {"step"}),
        ("cdae_step", "upsample_conv2d", {"step"}),
        ("sce_mi_step", "ratio_mask_loss", {"step"}),
    ],
)
def test_a_candidate_is_in_every_group_that_runs_its_pass(op, function, passes, candidates):
    of = None if function in candidate_passes() else DECLARED[f"bench_{op}"].op
    groups = checked(options_of(candidates, function, of), op)
    assert set(groups) == passes
    for group in groups.values():
        ours = "auto" if passes == {"step"} else "cpu"
        assert group.correct >= {ours, f"mine.py:{function}", "eager"} and not group.wrong


def test_a_candidate_computes_in_the_steps_of_a_network(candidates):
    """Every other op of the network runs on the back-end that "auto" selects, and a wrong candidate is detected."""
    (group,) = checked(options_of(candidates, "scaled_upsample", "upsample_conv2d"), "cdae_step").values()
    assert "the first loss is off" in group.wrong["mine.py:scaled_upsample"] and "auto" in group.correct


def test_a_candidate_for_whole_training_steps(candidates):
    (group,) = checked(options_of(candidates, "train_steps"), "train_step").values()
    assert {"partae cpu", "partae mine.py:train_steps", "PyTorch eager"} <= group.correct


def test_groups_of_other_ops_are_not_selected(candidates):
    assert list(Session(options_of(candidates, "encode")).cases(DECLARED["bench_decode"])) == []


def test_a_candidate_is_called_like_the_other_back_ends(candidates, tmp_path, monkeypatch):
    """A candidate and partae's kernel are called equally often by the public function, dispatcher and autograd."""
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
        for op_pass in ("forward", "both"):
            contest = contest_of("encode", op_pass, ("cpu", mine.name))
            back_ends.clear()
            ops.clear()
            with Dispatched():
                for call in contest.ours.values():
                    call()
            assert back_ends == ["cpu", mine.name]
            ops_of = ["encode"] if op_pass == "forward" else ["encode", "encode_backward"]
            assert ops == [(op, name) for name in back_ends for op in ops_of]
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
def test_a_wrong_candidate_is_not_timed(op, function, reason, candidates):
    name = op.removesuffix("_backward")
    groups = checked(options_of(candidates, function, op), name, only=f"mine.py:{function}")
    assert groups
    reasons = [group.wrong[f"mine.py:{function}"] for group in groups.values()]
    assert reason in reasons[0]  # autograd, or the backward pass, may be the first to see it in the others
    assert all(f"mine.py:{function}" not in group.correct for group in groups.values())


@pytest.mark.parametrize("function", ["wrong_from_the_50th_call", "remembered", "no_work"])
def test_a_candidate_that_becomes_wrong_has_no_row(function, candidates, monkeypatch):
    def measure(calls, device, rounds, cold):
        for _ in range(50):
            for call in calls.values():
                call()
        return timing.measure(calls, device, 1)

    monkeypatch.setattr(common, "measure", measure)
    run_session = Session(replace(options_of(candidates, function, "encode"), smoke=True))
    benchmark = DECLARED["bench_encode"]
    case = next(run_session.cases(benchmark))
    group = run_session.group(benchmark, case, ["cpu", f"mine.py:{function}"], True)
    assert set(group.rows) == {"cpu"}
    assert group.wrong[f"mine.py:{function}"].startswith("after the timing values is off")


def test_a_contest_does_not_change_its_inputs():
    for op_pass in ("forward", "both"):
        contest = contest_of("encode", op_pass)
        before = {name: tensor.detach().clone() for name, tensor in contest.inputs.items()}
        contest.run("cpu", rounds=2)
        assert all(common.same_bits(before[name], tensor) for name, tensor in contest.inputs.items())


def test_a_candidate_of_another_op(candidates):
    with pytest.raises(UserError, match="is a pass of encode, not of decode; say: partae bench encode"):
        candidate.load(f"{candidates}:encode", "decode")


def timed(name: str) -> session.Group:
    """Return the first group of a benchmark, with its versions timed."""
    run_session, benchmark = Session(Options(smoke=True, rounds=2)), DECLARED[f"bench_{name}"]
    case = next(run_session.cases(benchmark))
    versions = [other.version for other in run_session.cases(benchmark) if other.group == case.group]
    return run_session.group(benchmark, case, versions, True)


@pytest.mark.parametrize("name", ["encode", "train_step"])
def test_a_time_below_the_floor_is_an_error(name, monkeypatch):
    monkeypatch.setattr(session, "ceilings", lambda device, rounds: {**CEILINGS, "flop_per_s": 1.0})
    rows = timed(name).rows.values()
    assert rows and all(row.fraction_of_floor > 1 and "which is impossible" in row.fault for row in rows)
    report = {"environment": timing.environment(), "ceilings": {}, "rows": [row.to_dict() for row in rows]}
    assert "| ERROR: " in render.table(report)


def test_ceilings_measured_too_low_are_measured_again(monkeypatch):
    measurements = iter([{**CEILINGS, "flop_per_s": 1.0}, CEILINGS])
    monkeypatch.setattr(session, "ceilings", lambda device, rounds: next(measurements))
    rows = timed("decode").rows.values()
    assert rows and all(row.fraction_of_floor < 1 and row.fault is None for row in rows)


def test_a_time_below_the_floor_within_the_margin_is_not_an_error():
    assert timing.fault(1.04) is None
    assert "106% of the floor" in timing.fault(1.06)
    assert "nan" in timing.fault(float("nan"))


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


def step_contest() -> common.Contest:
    return train_step.contest(SMALL, "cpu", ["cpu"], [train_step.EAGER])


def test_a_training_step_that_becomes_wrong_has_no_row(monkeypatch):
    contest = step_contest()
    step = contest.ours["partae cpu"]
    results = step.results
    calls = iter(range(10))

    def wrong_from_the_third_call(version=None):
        (losses,) = results()
        return (losses * (1.0 if next(calls) < 2 else 1.01),)

    step.results = wrong_from_the_third_call
    outcome = contest.run("cpu", rounds=2)
    assert set(outcome.samples) == {train_step.EAGER}
    assert outcome.wrong["partae cpu"].startswith("after the timing a loss of the first steps is off by 0.01")


@pytest.mark.parametrize("wrong", [1.02, float("nan")])
def test_a_wrong_training_step_is_not_timed(wrong):
    contest = step_contest()
    contest.ours["partae cpu"].version.first_losses[3] *= wrong
    outcome = contest.run("cpu", rounds=2)
    assert set(outcome.samples) == {train_step.EAGER} and "a loss of the first steps" in outcome.wrong["partae cpu"]


def test_the_reason_why_a_version_cannot_run_is_reported(monkeypatch):
    monkeypatch.setattr(peers, "COMPILED", {"torch.compile": {"backend": "nothere"}})
    contest = train_step.contest(SMALL, "cpu")
    outcome = contest.run("cpu", rounds=2)
    assert {"partae cpu", "partae eager", train_step.EAGER} <= set(outcome.samples) and not outcome.wrong
    assert "nothere" in outcome.unable["torch.compile"]
    if not torch.cuda.is_available():
        assert {"partae triton", "partae cuda"} <= set(outcome.unable)


def test_rows_of_training_steps():
    contest = step_contest()
    ours, peer = contest.rows(contest.run("cpu", rounds=2), SMALL, "cpu", CEILINGS)
    assert (ours.version, peer.version) == ("partae cpu", train_step.EAGER)
    assert ours.fraction_of_floor == pytest.approx(train_step.floor(SMALL, CEILINGS) / ours.seconds)
    assert ours.ratio_to_best_peer == pytest.approx(peer.seconds / ours.seconds)
    assert peer.ratio_to_best_peer == 1
    assert peer.to_dict()["adadelta"] in train_step.forms("cpu")
    assert ours.error < common.GATE and ours.fault is None


def test_memory_of_training_steps(monkeypatch):
    monkeypatch.setattr(memory, "peaks", lambda requests: [{"peak_bytes": 3, "held_bytes": 4} for _ in requests])
    run_session, benchmark = Session(Options(smoke=True, rounds=2, memory=True)), DECLARED["bench_train_step"]
    case = next(run_session.cases(benchmark))
    row = run_session.group(benchmark, case, ["partae cpu"], True).rows["partae cpu"].to_dict()
    assert (row["peak_bytes"], row["held_bytes"]) == (3, 4)


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
    assert train_step.floor(paper, slow) == pytest.approx(arithmetic)  # recordings of 1 MB fit in the cache
    assert train_step.floor({**paper, "H": 64}, slow) == pytest.approx(4 * 8192 * 64 / 1e6 + 2e-7)
    tensor_cores = {**CEILINGS, "cache_bytes": 1 << 30, "tf32_flop_per_s": 9e11}
    assert train_step.floor(paper, tensor_cores, "tf32") == pytest.approx(37.7e6 / 1e11 + 2e-7, rel=0.01)
    assert train_step.floor(paper, tensor_cores) == pytest.approx(151e6 / 3e11 + 2e-7, rel=0.01)


def test_rows_of_a_population():
    contest = population.contest(SMALL, "cpu", models=3)
    threads = torch.get_num_threads()
    single, many = (row.to_dict() for row in contest.rows(contest.run("cpu", rounds=2), SMALL, "cpu", CEILINGS))
    torch.set_num_threads(threads)
    assert (single["models"], single["threads"], many["models"]) == (1, 1, 3)
    assert many["floor_seconds"] == pytest.approx(3 * train_step.flop(SMALL) / CEILINGS["flop_per_s"])
    share = render._of_threads_times_single(many, [single, many])
    assert share == pytest.approx(3 * single["seconds"] / many["seconds"] / threads)
    assert many["error"] < common.GATE


def test_the_population_program_writes_and_prints_its_results(tmp_path, capsys):
    population.main(["--models", "2", "--seconds", "0.01", "--results", str(tmp_path)])
    report = json.loads((tmp_path / "population.json").read_text())
    results = report["population"]
    assert results["seconds"] >= 0.01
    assert results["extrapolated_seconds"] == pytest.approx(results["seconds"] / results["steps_of_each"] * 1e6)
    assert "Extrapolated, not run: 1,000,000 steps" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak memory that Linux reports")
def test_peak_memory_is_that_of_the_allocations_of_a_step():
    small, _ = memory.resident_peak(lambda: torch.ones(1000))
    large, _ = memory.resident_peak(lambda: torch.ones(25_000_000).sum())
    assert small < 20e6
    assert 90e6 < large < 130e6


def test_memory_of_each_version_is_measured_in_its_own_process(monkeypatch):
    monkeypatch.undo()
    versions = ("PyTorch eager", "nothere")
    requests = [{"version": name, "shape": SMALL, "threads": 1, "form": "plain"} for name in versions]
    measured, failed = memory.peaks(requests)
    assert 0 <= measured["peak_bytes"] < 50e6
    assert 0 < measured["held_bytes"] < 500e6
    assert "nothere" in failed["failure"]


def test_curves_of_small_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "BASE", SMALL)
    monkeypatch.setattr(curves, "AXES", {"B": (1, 2), "H=K": (4, 8)})
    monkeypatch.setattr(curves, "measured_ceilings", lambda device: CEILINGS)
    assert curves.main([str(tmp_path), "--quick"]) == 0
    points = json.loads((tmp_path / "curves.json").read_text())["curves"]["cpu"]
    assert [(point["axis"], point["value"]) for point in points] == [("B", 1), ("B", 2), ("H=K", 4), ("H=K", 8)]
    for point in points:
        assert {"partae cpu", "PyTorch eager"} <= {row["version"] for row in point["rows"]}
        assert point["fixed_seconds"]["partae cpu"] > 0
    assert "### cpu: B (N 40, H 5, K 4, M 3, P 8)" in (tmp_path / "curves.md").read_text()
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_text_says_where_the_time_does_not_grow():
    def point(value, flop, seconds):
        rows = [{"version": "partae cpu", "seconds": seconds, "floor_seconds": 1e-6, "shapes": SMALL}]
        return {"axis": "B", "value": value, "flop": flop, "rows": rows, "fixed_seconds": {"partae cpu": 5e-4}}

    flat = [point(1, 1e6, 1e-3), point(4, 4e6, 1.1e-3), point(16, 16e6, 4.4e-3)]
    text = curves.text({"curves": {"cpu": flat}})
    assert "- partae cpu, B 1 to 4: 4 times the work takes 1.10 times as long, because 50% of the step" in text
    assert "16:" not in text
    grows = [point(1, 1e6, 1e-3), point(4, 4e6, 4e-3)]
    assert "The time grows with the work everywhere." in curves.text({"curves": {"cpu": grows}})


def test_floor_is_the_slower_of_arithmetic_and_memory():
    assert timing.Work(2e11, 1e9).floor(CEILINGS) == pytest.approx(2.0)
    assert timing.Work(1e9, 2e10).floor(CEILINGS) == pytest.approx(2.0)
    assert timing.Work(0, 1 << 27).floor(CEILINGS) == pytest.approx((1 << 27) / 1e11)  # fits in a cache
    assert timing.Work(0, 1 << 19).floor(CEILINGS) == 0  # smaller than all measured arrays
    tensor_cores = {**CEILINGS, "tf32_flop_per_s": 9e11}
    assert timing.Work(3e11, 0).floor(tensor_cores) == pytest.approx(1.0)


def test_denoising_from_file_to_file():
    rows = timed("denoise").rows
    ours = rows["partae default"].to_dict()
    assert ours["audio_seconds"] == 12 and ours["floor_seconds"] is None
    best = min((row.seconds for row in rows.values() if row.peer), default=None)
    assert ours["ratio_to_best_peer"] == (best and pytest.approx(best / ours["seconds"]))
    report = {"environment": timing.environment(), "ceilings": {}, "rows": [row.to_dict() for row in rows.values()]}
    assert "| **partae paper's** |" in render.table(report)


@pytest.mark.parametrize("wrong", [1e-4, float("nan")])
def test_denoising_whose_chunks_differ_is_not_timed(wrong, monkeypatch):
    monkeypatch.setattr(bench_denoise, "chunking_error", lambda model, audio: wrong)
    group = timed("denoise")
    assert "audio denoised in chunks is off by" in group.wrong["partae default"]
    assert not {version for version in group.rows if version.startswith("partae")}


def test_ceilings_of_this_machine():
    limits = ceilings.ceilings("cpu", 2)
    assert limits["flop_per_s"] == max(*limits["rates"].values(), limits["one_thread_flop_per_s"]) > 1e9
    assert limits["one_thread_flop_per_s"] > 1e9
    assert limits["bytes_per_s"] > 1e8
    sizes, rates = zip(*limits["bandwidths"], strict=True)
    assert sizes == ceilings.CPU_SETS and rates == tuple(sorted(rates, reverse=True))
    assert 0 < limits["barrier_seconds"] < 1e-2
