"""Compiles every Triton kernel ahead of time, with no GPU: `python tests/compile_triton.py`.

For each storage type and model size that matters, prints registers a thread, shared memory and stack a block, and with
--instructions what the machine code is made of, which takes as long again. The first size is compiled for every
architecture, and the others for one each, in turn; with --all also for the others, which takes three times as long.
Exits with 1 where a kernel has a stack: it spills registers to memory.

Kernels of the convolutional models are described here; those of another op in `ahead_of_time/OP.py`, whose
`kernels(kind)` yields for each: what it is compiled for, its name, the kernel, and its arguments and options as
`compile_kernel` takes them.

It needs a process of its own, without TRITON_INTERPRET.
"""

import functools
import importlib.util
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from partae_fast.kernels._triton import common, frame_windows
from partae_fast.kernels.decode import triton as decode
from partae_fast.kernels.encode import triton as encode
from partae_fast.kernels.partitioned_loss import triton as partitioned_loss
from partae_fast.kernels.train_steps import RULES
from partae_fast.kernels.train_steps import triton as train_steps

import triton  # isort: skip  (after `common`, which sets what Triton reads on import)
from triton.backends.compiler import GPUTarget  # isort: skip
from triton.compiler import ASTSource  # isort: skip

ARCHITECTURES = (80, 90, 100)
TYPES = ("fp32", "tf32", "bf16", "fp16")
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
OTHER_OPS = sorted(path for path in (Path(__file__).parent / "ahead_of_time").glob("*.py"))


@dataclass(frozen=True)
class Size:
    bins: int
    latents: int
    taps: int
    pool: int


SIZES = {
    "H32 K32 M9 P16": Size(32, 32, 9, 16),
    "H64 K32 M9 P4": Size(64, 32, 9, 4),
    "H128 K128 M9 P16": Size(128, 128, 9, 16),
    "H257 K40 M9 P10": Size(257, 40, 9, 10),
}

# Where kernels are compiled with what the paper's model does without too: in every size that nearly doubled the gate's
# time. In float32 all four were, and none spilled.
EXTRAS = (SIZES["H32 K32 M9 P16"], SIZES["H257 K40 M9 P10"])


@dataclass(frozen=True)
class Usage:
    """What one compiled kernel takes: registers a thread, bytes of stack a thread, bytes of shared memory a block."""

    registers: int
    stack: int
    shared: int
    cubin: bytes = field(repr=False)
    ptx: str = field(repr=False, default="")

    @functools.cached_property
    def instructions(self) -> dict[str, int]:
        """How often each instruction stands in the machine code."""
        return instruction_counts(cuobjdump("-sass", self.cubin))


def cuobjdump(what: str, cubin: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        return subprocess.run([CUOBJDUMP, what, file], check=True, capture_output=True, text=True).stdout


def usage_of(cubin: bytes, shared: int, name: str = "") -> Usage:
    """Return what a kernel takes, with `shared` bytes of shared memory: the kernel `name`, if the cubin has several."""
    listing = cuobjdump("--dump-resource-usage", cubin)
    registers, stack = resource_usage(listing[listing.index(f"Function {name}:") :] if name else listing)
    return Usage(registers, stack, shared, cubin)


def resource_usage(listing: str) -> tuple[int, int]:
    """Registers and stack, local memory counted with it, from `cuobjdump --dump-resource-usage`."""
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", listing)
    if found is None:
        raise ValueError(f"no resource usage in: {listing!r}")
    registers, stack, local = map(int, found.groups())
    return registers, stack + local


def instruction_counts(listing: str) -> dict[str, int]:
    """How often each instruction stands in a listing of `cuobjdump -sass`."""
    counts: dict[str, int] = {}
    for name in re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z0-9_.]+)", listing, flags=re.MULTILINE):
        counts[name] = counts.get(name, 0) + 1
    return counts


def compile_kernel(kernel, arguments: dict, architecture: int, **options) -> Usage:
    """`arguments` gives each parameter a type ("i32:16": an integer that 16 divides) or ("constexpr", value)."""
    signature, constants, attributes = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        kind = arguments[name]
        if isinstance(kind, tuple):
            signature[name], constants[(i,)] = kind
            continue
        signature[name] = kind.removesuffix(":16")
        if kind.startswith("*") or kind.endswith(":16"):
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    usage = usage_of(compiled.asm["cubin"], compiled.metadata.shared)
    return replace(usage, ptx=compiled.asm["ptx"])


def parameters(kernel, size: Size, kind: str, tile: dict, **flags) -> tuple[dict, dict]:
    """The argument types of `kernel` as its launcher would give them, and the compiler's options.

    `flags` are constants, or a pointer's type where it is not the storage's.
    """
    storage = "fp32" if kind == "tf32" else kind
    options = {name: tile[name] for name in ("num_warps", "num_stages", "maxnreg") if name in tile}
    types = {name: value for name, value in flags.items() if name.endswith("_ptr") and value is not None}
    constants = {name: value for name, value in (tile | flags).items() if name not in options and name not in types}
    float32 = {"mean_ptr", "std_ptr", "divisor_ptr", "partials_ptr", "noise_only_ptr", "foreground_ptr"}
    integers = {
        "bins": size.bins,
        "latents": size.latents,
        "latent_stride": size.bins,
        "tap_stride": size.bins * size.latents,
        "bin_stride": 1,
        "w_tap_stride": size.bins * size.latents,
        "w_bin_stride": 1 if kind == "tf32" else size.latents,
        "w_latent_stride": size.bins if kind == "tf32" else 1,
        "size": 16 * 512 * size.bins,
    }
    arguments: dict = {}
    for name in kernel.arg_names:
        if name in constants:
            arguments[name] = ("constexpr", constants[name])
        elif name in types:
            arguments[name] = types[name]
        elif name == "positions_ptr":
            arguments[name] = "*i32"
        elif name.endswith("_ptr"):
            arguments[name] = "*fp32" if name in float32 else f"*{storage}"
        elif name in ("penalty", "per_item", "scale", "negative_slope"):
            arguments[name] = "fp32"
        elif integers.get(name) == 1:
            arguments[name] = ("constexpr", 1)
        else:
            arguments[name] = "i32:16" if integers.get(name, 1) % 16 == 0 else "i32"
    return arguments, options


def no_second(rule: str) -> dict[str, None]:
    """What says that a rule has one state tensor."""
    return {"second_ptr": None} if len(RULES[rule].state) == 1 else {}


def training_types(kernel, source: str) -> dict[str, str]:
    """What the pointers of a kernel of train_steps point to: float32 but for the source and a few numbers."""
    others = dict.fromkeys(("starts_ptr", "numbers_ptr"), "*i64")
    others |= dict.fromkeys(("losses_ptr", "settings_ptr", "history_ptr"), "*fp64")
    others |= {"positions_ptr": "*i32", "source_ptr": f"*{source}"}
    return {name: others.get(name, "*fp32") for name in kernel.arg_names if name.endswith("_ptr")}


def training_kernels(size: Size, kind: str):
    """The same for train_steps; kind fp32 is three TF32 products for one."""
    dot = "tf32x3" if kind == "fp32" else kind
    tile = train_steps.tile_of(size.bins, size.latents, size.taps, dot)
    source = "bf16" if kind == "bf16" else "fp32"
    types = training_types(train_steps.learn_kernel, source)
    plain = {"negative_slope": None, "CORRUPTION": 0, "RECTIFIED": False}
    yield "learn", train_steps.learn_kernel, tile, plain | types
    if size in EXTRAS:
        yield "learn, all extras", train_steps.learn_kernel, tile, {"CORRUPTION": 1, "RECTIFIED": True, **types}
    if kind != "fp32":
        return
    draw = training_types(train_steps.draw_kernel, source)
    yield "draw", train_steps.draw_kernel, train_steps.DRAW, {"BITS": 8, "CORRUPTION": 0, **draw}
    if size in EXTRAS:
        yield "draw, corruption", train_steps.draw_kernel, train_steps.DRAW, {"BITS": 8, "CORRUPTION": 1, **draw}
    for rule, encoder in (("adadelta", True), ("adadelta", False), ("adam", True), ("sgd", True), ("nesterov", True)):
        types = training_types(train_steps.update_kernel, source)
        types |= no_second(rule)
        flags = {"RULE": rule, "ENCODER": encoder, **types}
        yield f"update {rule} ({'enc' if encoder else 'dec'})", train_steps.update_kernel, train_steps.UPDATE, flags
    finish = training_types(train_steps.finish_kernel, source)
    yield "finish", train_steps.finish_kernel, train_steps.FINISH, finish


def kernels(size: Size, kind: str):
    """(name, kernel, tile, flags) of every kernel as it runs on `size` with storage `kind`; tf32 is for products."""
    if kind != "fp16":
        yield from training_kernels(size, kind)
    itemsize = 2 if kind in ("bf16", "fp16") else 4
    tile = encode.tile_of(size.bins, size.latents, size.pool, itemsize, kind != "fp32")
    precision = "ieee" if kind == "fp32" else "tf32"
    yield "encode", encode.encode_kernel, tile, {"NORMALISE": True, "PRECISION": precision, "negative_slope": None}
    if size in EXTRAS:
        yield "encode, negative_slope", encode.encode_kernel, tile, {"NORMALISE": True, "PRECISION": precision}
    if kind == "tf32":
        return
    scatter = frame_windows.scatter_tile(size.bins)
    yield "scatter_runs (decode)", frame_windows.scatter_runs_kernel, scatter, {"DIVIDE": False, "divisor_ptr": None}
    yield "scatter_runs (grad_x)", frame_windows.scatter_runs_kernel, scatter, {"DIVIDE": True}
    yield "gather_dots", decode.gather_dots_kernel, decode.gather_tile(size.bins), {}
    accumulate = frame_windows.accumulate_tile(size.bins, size.latents, size.taps)
    plain = {"NORMALISE": False, "mean_ptr": None, "std_ptr": None}
    yield "accumulate_runs (dec)", frame_windows.accumulate_runs_kernel, accumulate, plain
    yield "accumulate_runs (enc)", frame_windows.accumulate_runs_kernel, accumulate, {"NORMALISE": True}
    loss = partitioned_loss.tile_of(size.latents)
    yield "partitioned_loss", partitioned_loss.partitioned_loss_kernel, loss, {}
    yield "add_up", common.add_up_kernel, common.ADD_UP, {}


def figures(usage: Usage, instructions: bool) -> str:
    """The end of a line of the table."""
    listed = f"  {summary(usage.instructions)}" if instructions else ""
    return f"{usage.registers:10}{usage.shared:8}{usage.stack:6}{listed}"


def summary(counts: dict[str, int]) -> str:
    """The instructions that tell how a kernel works: matrix units, widths of loads, exchanges between threads."""
    wanted = ("HGMMA", "HMMA", "UTCHMMA", "FFMA", "FFMA2", "LDG", "LDGSTS", "STG", "SHFL", "BAR")
    groups: dict[str, int] = {}
    for name, count in counts.items():
        stem = name.split(".")[0]
        if stem in wanted:
            stem += ".128" if name.endswith(".128") else ""
            groups[stem] = groups.get(stem, 0) + count
    return " ".join(f"{name} {count}" for name, count in sorted(groups.items()))


def rows(label: str, kind: str, architecture: int) -> list[tuple[str, str, Usage]]:
    """Size, name and usage of every kernel in one size or of another op, in one type and architecture."""
    found = []
    for name, kernel, tile, flags in kernels(SIZES[label], kind):
        arguments, options = parameters(kernel, SIZES[label], kind, tile, **flags)
        found.append((label, name, compile_kernel(kernel, arguments, architecture, **options)))
    return found


def rows_of_op(path: Path, kind: str, architecture: int) -> list[tuple[str, str, Usage]]:
    """The same of another op."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    op = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(op)
    return [
        (label, name, compile_kernel(kernel, arguments, architecture, **options))
        for label, name, kernel, arguments, options in op.kernels(kind)
    ]


def lines(function, what, kind: str, architecture: int, instructions: bool) -> list[tuple[str, bool]]:
    """Lines of the table, and whether the kernel of each spills."""
    return [
        (f"{name:24}{label:18}sm_{architecture:<4}{kind:6}{figures(usage, instructions)}", usage.stack > 0)
        for label, name, usage in function(what, kind, architecture)
    ]


def main(instructions: bool, everything: bool) -> int:
    counts = {"fp32": len(SIZES), "tf32": 3, "bf16": 3, "fp16": 1}  # of sizes: fp16 is laid out as bf16 is
    labels = {kind: tuple(SIZES)[: counts[kind]] for kind in TYPES}
    parts = [
        (function, what, kind)
        for kind in TYPES
        for function, whats in ((rows, labels[kind]), (rows_of_op, OTHER_OPS))
        for what in whats
    ]
    tasks = [
        (*part, architecture, instructions)
        for number, part in enumerate(parts)
        for architecture in (ARCHITECTURES if everything or number == 0 else (ARCHITECTURES[number % 3],))
    ]
    spilled = 0
    print(f"{'kernel':24}{'size':18}{'arch':7}{'type':6}{'registers':>10}{'shared':>8}{'stack':>6}")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(lines, *zip(*tasks, strict=True)):
            for line, spills in found:
                spilled += spills
                print(line, flush=True)
    print(f"{spilled} kernels spill" if spilled else "no kernel spills")
    return 1 if spilled else 0


if __name__ == "__main__":
    if os.environ.get("TRITON_INTERPRET") == "1":
        sys.exit("unset TRITON_INTERPRET: kernels are compiled here, not interpreted")
    sys.exit(main("--instructions" in sys.argv[1:], "--all" in sys.argv[1:]))
