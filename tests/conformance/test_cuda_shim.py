"""The CUDA C kernels of single ops on the CPU: values, gradients, races, and wrong kernels that are caught."""

import ctypes
import functools
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.conformance import cuda_shim, decode, encode, partitioned_loss, train_steps, verify
from partae_fast.conformance.cases import Case
from partae_fast.conformance.verify import SHIM
from partae_fast.errors import UserError
from partae_fast.kernels import BackendUnavailable, implementation
from partae_fast.kernels._cuda.common import Target
from partae_fast.kernels._cuda.frame_windows import Rows, macros
from partae_fast.kernels.registry import registered
from partae_fast.kernels.tf32 import tf32

pytestmark = pytest.mark.skipif(cuda_shim.COMPILER is None, reason="g++ is not installed")
CPU = torch.device("cpu")
CHECKS = {"encode": encode, "decode": decode, "partitioned_loss": partitioned_loss}
PASSES = ("encode", "encode_backward", "decode", "decode_backward", "partitioned_loss")


def op_of(op_pass: str) -> str:
    return op_pass.removesuffix("_backward")


def errors(op_pass: str, cases: Sequence[Case] = encode.TINY) -> Iterator[str]:
    """Yield the errors above 1e-5 of a pass."""
    op = op_of(op_pass)
    check, module = getattr(CHECKS[op], op_pass), implementation(op, "cuda")
    with tf32(False), np.errstate(all="ignore"):
        if op_pass == "decode":
            refused = decode.refusals(module.decode, torch.float32, CPU)
            yield from (f"{quantity}: {e}" for quantity, e in refused.items() if e)
        for case in cases:
            results = check(case, module, torch.float32, CPU, 1e-5, False)
            yield from (f"{case.name}: {quantity}: {e}" for quantity, e in results.items() if not e <= 1e-5)


@pytest.mark.slow
def test_cuda_without_a_gpu_has_a_row_of_the_shim_for_each_pass():
    rows = list(verify(cuda_shim.OPS, "cuda" if not pf.backends()["cuda"].available else SHIM))
    assert {(row.op, row.type) for row in rows} == {("encode", "tf32"), *((name, "float32") for name in PASSES)}
    for row in rows:
        assert row.passed and row.backend == "cuda-shim" and row.cases >= (25 if row.type == "tf32" else 45), row


@pytest.mark.slow
def test_the_persistent_kernel_has_a_row(monkeypatch):
    """Three cases are enough, each a build: tests/kernels/train_steps checks this kernel."""
    monkeypatch.setattr(train_steps, "SHIMMED", ("primes", "exact ties", "three runs, pool of one"))
    (row,) = verify("train_steps", SHIM)
    assert row.passed and row.backend == "cuda-shim" and row.cases == len(train_steps.SHIMMED), row
    case = next(case for case in train_steps.TINY if case.targets)
    assert "targets of their own" in str(cuda_shim.TrainSteps.refusal([train_steps.make_run(case, torch.float32, CPU)]))


def test_a_machine_without_a_compiler_has_no_shim(monkeypatch):
    monkeypatch.setattr(cuda_shim, "COMPILER", None)
    with pytest.raises(BackendUnavailable, match=r"cuda-shim cannot run here: g\+\+ is not installed"):
        list(verify("encode", SHIM))
    with pytest.raises(UserError, match=r"choose one of .*cuda-shim"):
        list(verify("encode", "gpu"))


def inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weights = {"w_enc": torch.randn(5, 6, 7), "w_dec": torch.randn(5, 7, 6)}
    return {name: w.requires_grad_() for name, w in {"x": torch.rand(3, 50, 6), **weights}.items()}


def gradients(backend: str) -> list[torch.Tensor]:
    leaves = inputs()
    mean, std = torch.rand(6), 0.5 + torch.rand(6)
    labels, mask = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    loss = pf.partitioned_loss(
        leaves["x"], mean, std, leaves["w_enc"], leaves["w_dec"], labels, mask, 0.75, 8, backend=backend
    )
    return [loss.detach(), *torch.autograd.grad(loss, list(leaves.values()))]


def test_autograd_differentiates_the_composition():
    names = [registered(op, "shim", implementation(op, "cuda")) for op in cuda_shim.OPS]
    with cuda_shim.shimmed(), tf32(False), names[0], names[1], names[2]:
        results = gradients("shim")
    for result, expected in zip(results, gradients("eager"), strict=True):
        assert (result - expected).norm() <= 1e-5 * expected.norm()


def test_constant_sizes_change_no_bit():
    """A GPU gets the sizes as constants, and the shim as arguments."""
    op_pass = "encode"
    case = next(case for case in encode.TINY if case.name == "primes")
    check = getattr(CHECKS[op_pass], op_pass)
    (call,) = check.calls(case, torch.float32, CPU, 1e-5, 0)
    results = []
    for constant in (False, True):
        with cuda_shim.shimmed(replace(cuda_shim.TARGET, constant_sizes=constant)), tf32(False):
            results.append(call.run(check.function(implementation(op_pass, "cuda"))))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.slow
def test_products_in_three_parts_are_as_accurate_as_float32():
    """They have no infinity: its remainder is NaN."""
    module = SimpleNamespace(encode=functools.partial(implementation("encode", "cuda").encode, precision="3xtf32"))
    worst = {}
    with cuda_shim.shimmed(cuda_shim.WARPS), np.errstate(all="ignore"):
        for case in (case for case in encode.TINY[::4] if case.kind != "infinite"):
            results = encode.encode(case, module, torch.float32, CPU, 1e-5, False)
            worst[case.name] = max(results.values())
    assert max(worst.values()) <= 1e-6, worst


def test_an_argument_of_another_size_is_refused(monkeypatch):
    module = implementation("partitioned_loss", "cuda")
    monkeypatch.setattr(module, "LOSS_SUM", np.dtype([("loss", "u8"), ("partials", "u8"), ("parts", "i8", 2)]))
    tensors = torch.rand(1, 4, 2), torch.rand(1, 4, 2), torch.rand(1, 1, 2), torch.rand(1), torch.rand(2)
    with cuda_shim.shimmed(), pytest.raises(AssertionError, match="partitioned_loss_sum takes 24 bytes and 32"):
        module.partitioned_loss(*tensors, 1.0)


def test_a_kernel_that_writes_past_its_shared_memory_is_reported():
    module = implementation("partitioned_loss", "cuda")

    def start(path, name, macros, blocks, shared, argument):
        cuda_shim.start(path, name, macros, blocks, shared - 8, argument)

    short = replace(cuda_shim.TARGET, start=start)
    tensors = torch.rand(1, 4, 2), torch.rand(1, 4, 2), torch.rand(1, 1, 2), torch.rand(1), torch.rand(2)
    with cuda_shim.shimmed(short), pytest.raises(AssertionError, match="writes past its 120 bytes of shared memory"):
        module.partitioned_loss(*tensors, 1.0)


def test_filters_too_long_for_shared_memory_are_refused():
    module = implementation("decode", "cuda")
    with cuda_shim.shimmed(), pytest.raises(BackendUnavailable, match=r"decode needs \d+ bytes .* use triton or eager"):
        module.decode(torch.rand(1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int32), torch.rand(2000, 1, 4), 8)


@pytest.mark.parametrize("make", [Rows.of_decoder, Rows.of_encoder])
def test_rows_name_every_weight_once(make):
    weights = torch.arange(3 * 4 * 5.0).view(3, 4, 5)
    rows = make(weights)
    begin = int(rows.tensor.flatten()[0])
    numbers = {
        begin + k * rows.latent + i * rows.tap + h * rows.bin
        for k in range(rows.latents)
        for i in range(rows.taps)
        for h in range(rows.bins)
    }
    assert numbers == {*range(60)}


# By pass: a part of a file below `kernels`, and what a wrong kernel has instead.
MUTANTS = {
    "encode": {
        "the last of equals wins": ("!(sum <= best.value)", "!(sum < best.value)"),
        "a NaN is dropped": ("!(sum <= best.value) && best.value == best.value", "sum > best.value"),
        "the mean is subtracted outside the recording": (
            "frame < launch.frames) {\n                const float4 mean",
            "frame < 1 << 30) {\n                const float4 mean",
        ),
        "filters in the order of taps": (
            "from -= (long long)bins * latents)",
            "from = w_enc + ((long long)(part.last_tap + 1 - part.taps + i) * bins + h) * latents + k)",
        ),
        "even filters one frame off": ("first_row - t.taps / 2 +", "first_row - (t.taps - 1) / 2 +"),
        "a leaky window begins at 0": ("? number_of(0xFF800000u)", "? 0.0f"),
        "one slice of the sums": ("slice < slices; ++slice)", "slice < min(slices, 1); ++slice)"),
    },
    "encode_backward": {
        "the gradient of a window at 0": ("runs.values[at] <= 0.0f", "runs.values[at] < 0.0f"),
        "std is forgotten": ("out[i] /= launch.divisor[h + i]", "out[i] /= 1.0f"),
        "the mean outside the recording": (
            "j >= low && j < high ? run[j] - mean[q] : 0.0f",
            "(j >= low && j < high ? run[j] : 0.0f) - mean[q]",
        ),
        "the first parts only": ("part < launch.parts; part += TEAMS", "part < min(launch.parts, 2); part += TEAMS"),
    },
    "decode": {
        "positions are trusted": ("store_same(words + at.wrong, 1)", "store_same(words + at.wrong, 0)"),
        "the last frame of a run": ("words[at.first + q + t.taps], row)", "words[at.first + q + t.taps - 1], row)"),
        "even filters one frame later": ("place.first_frame + t.taps / 2 -", "place.first_frame + (t.taps - 1) / 2 -"),
    },
    "decode_backward": {
        "frames after the recording": ("min(t.taps, runs.frames - start) * t.bins", "t.taps * t.bins"),
        "windows of the next item": ("window = 0;\n                ++item;", "window = 0;"),
    },
    "partitioned_loss": {
        "the mask is not squared": ("* foreground * foreground", "* foreground"),
        "the sum of the mask, not its mean": ("/ launch.latents;", ";"),
        "labels of the first item": ("launch.noise_only[i / launch.item_pooled]", "launch.noise_only[0]"),
    },
}
# Block barriers, by their comment: without each of these there is a race.
BARRIERS = {
    "encode": (
        "block_barrier();  // the previous part has been read",
        "block_barrier();  // the activations are complete",
    ),
    "decode": (
        "block_barrier();  // the previous latents have been read",
        "block_barrier();  // the list is complete",
    ),
    "decode_backward": ("block_barrier();  // the lanes' parts of the dots are complete",),
    "encode_backward": (),
    "partitioned_loss": (),
}


class Mutant:
    """The functions of one mutant of a library, by their usual names."""

    def __init__(self, code: ctypes.CDLL, number: int) -> None:
        self._code, self._number = code, number

    def __getattr__(self, name: str):
        return getattr(self._code, f"{name}_{self._number}")

    def target(self) -> Target:
        return replace(cuda_shim.TARGET, start=functools.partial(cuda_shim.start, load=lambda path, macros: self))


def mutants(op: str, changes: list[tuple[str, str]], *flags: str) -> list[Mutant]:
    """Return kernels of an op with a part replaced each, after those with none: a library, a namespace for each."""
    path = f"{op}/{op}.cuh"
    lines = "".join((cuda_shim.KERNELS / file).read_text() for file in ("_cuda/frame_windows.cuh", path)).splitlines()
    body = "\n".join(line for line in lines if not line.startswith(("#include", "#pragma once")))
    text = '#include "_cuda/common.cuh"\n'
    for number, (part, instead) in enumerate([("#endif", "#endif"), *changes]):
        assert number == 0 or body.count(part) == 1, (part, body.count(part))
        text += (
            f"namespace mutant_{number} {{\n{body.replace(part, instead)}\n{cuda_shim.exports(body, f'_{number}')}}}\n"
        )
    code = cuda_shim.compiled(text, tuple(macros(cuda_shim.TARGET).items()), *flags)
    return [Mutant(code, number) for number in range(len(changes) + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("op", cuda_shim.OPS)
def test_a_wrong_kernel_is_caught(op):
    changes = [
        (op_pass, name, change)
        for op_pass in PASSES
        if op_of(op_pass) == op
        for name, change in MUTANTS[op_pass].items()
    ]
    right, *wrong = mutants(op, [change for _, _, change in changes], "-O0")
    missed = []
    with cuda_shim.shimmed(right.target()):  # the rows above have all cases
        own = [op_pass for op_pass in PASSES if op_of(op_pass) == op]
        assert [error for op_pass in own for error in errors(op_pass, encode.TINY[::5])] == []
    for mutant, (op_pass, name, _) in zip(wrong, changes, strict=True):
        with cuda_shim.shimmed(mutant.target()):
            if next(errors(op_pass), None) is None:
                missed.append(f"{op_pass}: {name}")
    assert missed == []


SEVERAL_PARTS = Case("several parts of the sums and of the latents", 2, 21, 40, 9, 6, 5)


def watch() -> None:
    """Run kernels under the sanitizer with which this process was started; print the name of each before."""
    for op in cuda_shim.OPS:
        changes = [(op_pass, line) for op_pass in PASSES if op_of(op_pass) == op for line in BARRIERS[op_pass]]
        unchanged = [(op_pass, f"unchanged {op_pass}") for op_pass in PASSES if op_of(op_pass) == op]
        right, *wrong = mutants(op, [(line, "//") for _, line in changes], "-g1", "-O0", "-fsanitize=thread")
        kernels = [*[right] * len(unchanged), *wrong]
        for mutant, (op_pass, name) in zip(kernels, [*unchanged, *changes], strict=True):
            print(f"== {name}", file=sys.stderr, flush=True)
            with cuda_shim.shimmed(mutant.target()):
                wrong_results = [*errors(op_pass, [SEVERAL_PARTS])]
            assert not name.startswith("unchanged") or not wrong_results, wrong_results


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setarch") is None, reason="setarch is not installed")
def test_no_thread_races_another_and_a_missing_barrier_is_seen():
    where = subprocess.run(["g++", "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": where.stdout.strip(),
        "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    code = "from tests.conformance.test_cuda_shim import watch; watch()"
    # The sanitizer does not support much address randomization.
    command = ["setarch", platform.machine(), "--addr-no-randomize", sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    _, *parts = done.stderr.split("== ")
    reports = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}
    assert [*reports] and done.returncode == 66, done.stderr
    for name, report in reports.items():
        assert ("data race" in report) != name.startswith("unchanged"), f"{name}: {report}"
    assert len(reports) == len(PASSES) + sum(map(len, BARRIERS.values()))
