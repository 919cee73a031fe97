"""Tests of the structure of the source tree: links, imports and layers."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("kernels", "reference", "bench")
LIBRARY = sorted(p for p in (ROOT / "partae_fast").rglob("*.py") if not {*p.relative_to(ROOT).parts[1:2]} & {*LINKED})
BEHIND_LINKS = sorted(p for name in LINKED for p in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
STANDARD = sys.stdlib_module_names


def module_of(path: Path) -> str:
    """Return the module name of a file.

    For kernels/encode/__init__.py it is partae_fast.kernels.encode.
    """
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] in ("partae_fast", "tests") else ("partae_fast", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache  # several tests ask for the same file
def imports(path: Path, deep: bool = True) -> frozenset[str]:
    """Return the absolute names that a file imports.

    `from a import b` gives a and a.b.

    With `deep`, imports inside functions are included.
    """
    module, imported = module_of(path), set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(), str(path))
    for node in ast.walk(tree) if deep else tree.body:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([base] if base else [])])
            imported |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(imported)


def imports_from(path: Path, package: str) -> set[str]:
    """Return the names that a file imports from `package` or its subpackages."""
    return {name for name in imports(path) if name == package or name.startswith(package + ".")}


def names(paths: list[Path]) -> list:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


def test_imports_resolves_relative_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "kernels" / "encode" / "cpu.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import a.b\ndef f():\n    from ..jit import kernel\n    from . import eager\n    from ...audio import x\n"
    )
    assert imports(file) == {
        "a.b",
        "partae_fast.kernels.jit",
        "partae_fast.kernels.jit.kernel",
        "partae_fast.kernels.encode",
        "partae_fast.kernels.encode.eager",
        "partae_fast.audio",
        "partae_fast.audio.x",
    }


@pytest.mark.parametrize("name", LINKED)
def test_link_is_relative(name):
    link = ROOT / "partae_fast" / name
    assert link.is_symlink() and str(link.readlink()) == f"../{name}"
    assert link.resolve() == ROOT / name and (ROOT / name).is_dir()


@pytest.mark.parametrize("path", names(LIBRARY + BEHIND_LINKS + TESTS))
def test_linked_packages_are_imported_through_partae_fast(path):
    """`import kernels` would work in a checkout, and would register every op twice."""
    assert not {name.partition(".")[0] for name in imports(path)} & {*LINKED}


@pytest.mark.parametrize("path", names(sorted((ROOT / "kernels").rglob("*.py"))))
def test_kernels_import_kernels_only(path):
    assert imports_from(path, "partae_fast") == imports_from(path, "partae_fast.kernels")


SHARED = ("_eager", "_cpu", "_triton", "_cuda")  # code shared by the implementations of several ops
OPS = {p.name for p in (ROOT / "kernels").iterdir() if (p / "eager.py").is_file()}


@pytest.mark.parametrize(
    "path", names(sorted(p for folder in SHARED for p in (ROOT / "kernels" / folder).glob("*.py")))
)
def test_shared_folders_import_no_op_and_no_other_shared_folder(path):
    """So an op in plain PyTorch needs no compiler."""
    others = OPS | {*SHARED} - {path.parent.name}
    assert not {name.split(".")[2] for name in imports(path) if name.startswith("partae_fast.kernels.")} & others


COMPOSED = {"train_steps": {"encode", "decode", "partitioned_loss"}}  # a training step is composed of ops


@pytest.mark.parametrize("path", names(sorted(p for op in OPS for p in (ROOT / "kernels" / op).glob("*.py"))))
def test_ops_import_no_other_op(path):
    op = path.parent.name
    others = OPS - {op} - COMPOSED.get(op, set())
    assert not {name.split(".")[2] for name in imports(path) if name.startswith("partae_fast.kernels.")} & others


@pytest.mark.parametrize("path", names(sorted((ROOT / "reference").rglob("*.py"))))
def test_reference_imports_numpy_only(path):
    others = {name.partition(".")[0] for name in imports(path)} - {*STANDARD} - {"numpy", "partae_fast"}
    assert not others
    assert imports_from(path, "partae_fast") == imports_from(path, "partae_fast.reference")


@pytest.mark.parametrize("path", names(LIBRARY))
def test_only_checks_import_reference_and_bench(path):
    part = path.relative_to(ROOT / "partae_fast").parts
    if part[0] != "conformance":
        assert not imports_from(path, "partae_fast.reference")
    if part != ("cli", "bench.py"):
        assert not imports_from(path, "partae_fast.bench")
    if part[0] != "conformance" and part != ("cli", "verify.py"):
        assert not imports_from(path, "partae_fast.conformance")


# From top to bottom. A part imports from lower layers only, and not from other parts of its own layer.
LAYERS = (
    ("cli",),
    ("demo",),
    ("experiments",),
    ("report",),
    ("evaluation", "sweeps"),
    ("systems",),
    ("training",),
    ("denoising",),
    ("models",),
    ("masking", "labels", "sampling"),
    ("audio", "metrics"),
    ("functional", "plot_style", "checked_safetensors", "file_lock", "scratch"),
    ("kernels", "atomic", "interrupts", "progress"),
    ("errors",),
)
RANK = {part: number for number, layer in enumerate(LAYERS) for part in layer}
UNRESTRICTED = ("__init__", "__main__", "conformance")  # may import from all layers


def part_of(path: Path) -> str:
    """Return the folder of a file in the library, or its name if it has none."""
    return path.relative_to(ROOT / "partae_fast").parts[0].removesuffix(".py")


def forbidden_imports(path: Path) -> set[str]:
    """Return the parts of the same or a higher layer that a file imports from."""
    part_of_path = part_of(path)
    if part_of_path in UNRESTRICTED:
        return set()
    parts = {name.split(".")[1] for name in imports_from(path, "partae_fast") if "." in name}
    others = parts - {part_of_path, "__version__"} - NOT_IN_LAYERS
    return {part for part in others if part not in RANK or RANK[part] <= RANK[part_of_path]}


NOT_IN_LAYERS = {"reference", "bench", "conformance"}  # see `test_only_checks_import_reference_and_bench`


def test_every_part_has_a_layer():
    assert {part_of(path) for path in LIBRARY} - {*UNRESTRICTED} == {*RANK} - {"kernels"}


@pytest.mark.parametrize("path", names(LIBRARY))
def test_imports_come_from_lower_layers(path):
    assert not forbidden_imports(path)


FORBIDDEN = {
    "errors.py": "from .atomic import atomic_path",
    "audio/x.py": "from ..models import save",
    "labels/x.py": "from ..sampling.crops import CropSampler",
    "sampling/x.py": "from ..training.trainer import Trainer",
    "masking/x.py": "from ..denoising.denoise import denoise",
    "functional/x.py": "import partae_fast.audio",
    "models/x.py": "def f():\n    from ..training.trainer import Trainer",
    "denoising/batch/x.py": "from ...training import material",
    "training/x.py": "from ..systems.registry import systems",
    "systems/x.py": "from ..sweeps.sweep import Sweep",
    "sweeps/x.py": "from ..evaluation.diagnostics import diagnose",
    "evaluation/x.py": "from ..report.page import page",
    "experiments/paper/x.py": "from ...cli.options import names",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_imports_are_detected(name, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "partae_fast" / name
    path.parent.mkdir(parents=True)
    path.write_text(FORBIDDEN[name] + "\n")
    assert forbidden_imports(path)


def test_imports_have_no_cycles():
    """Imports inside functions are left out."""
    files = {module_of(path): path for path in LIBRARY + BEHIND_LINKS}
    edges = {name: {n for n in imports(path, deep=False) if n in files} - {name} for name, path in files.items()}
    packages = {module_of(path) for path in files.values() if path.name == "__init__.py"}
    edges = {name: targets - packages for name, targets in edges.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in files:
        visit(name, ())


def run_python(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_import_loads_numpy_and_torch_only():
    code = """
import sys, numpy.random, torch
before = set(sys.modules)
import partae_fast, partae_fast.cli
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""
    assert set(run_python(code).split()) <= {"numpy", "partae_fast"}


def test_model_in_plain_pytorch_needs_no_compiler():
    code = """
import importlib.abc, importlib.machinery, sys
import torch
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("numba", "triton", "cupy", "llvmlite"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import importlib.util
find_spec = importlib.util.find_spec
missing = ("numba", "triton", "cupy")
importlib.util.find_spec = lambda name, package=None: None if name in missing else find_spec(name, package)
import partae_fast as pf
assert [name for name, state in pf.backends().items() if state.available] == ["reference", "eager"], pf.backends()
model = pf.ConvPartitionedAutoencoder(bins=8, latents=4, taps=3, pool=4)
from partae_fast.training.optimizers import Optimizer
optimizer = Optimizer("adadelta", dict(model.named_parameters()), {})
model(torch.rand(2, 20, 8)).sum().backward()
optimizer.step(0)
print(tuple(model(torch.rand(2, 20, 8)).shape))
"""
    assert run_python(code) == "(2, 20, 8)"


def test_there_is_something_to_check():
    assert len(LIBRARY) > 20 and len(BEHIND_LINKS) > 15 and len(TESTS) > 15
