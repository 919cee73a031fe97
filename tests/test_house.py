"""The house keeps its shape: links, arrows between the parts, a lean import."""

import ast
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
    """The name under which the file is imported: partae_fast.kernels.encode for kernels/encode/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] in ("partae_fast", "tests") else ("partae_fast", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, deep: bool = True) -> set[str]:
    """Absolute names of all that the file imports; `from a import b` counts as a and as a.b.

    Anywhere in it, or without `deep` at its top alone.
    """
    module, found = module_of(path), set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(), str(path))
    for node in ast.walk(tree) if deep else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def reached(path: Path, package: str) -> set[str]:
    """What the file imports of `package` or below it."""
    return {name for name in imports(path) if name == package or name.startswith(package + ".")}


def names(paths: list[Path]) -> list:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


def test_imports_are_read_as_python_reads_them(tmp_path, monkeypatch):
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
def test_link_is_relative_and_leads_to_the_folder_beside(name):
    link = ROOT / "partae_fast" / name
    assert link.is_symlink() and str(link.readlink()) == f"../{name}"
    assert link.resolve() == ROOT / name and (ROOT / name).is_dir()


@pytest.mark.parametrize("path", names(LIBRARY + BEHIND_LINKS + TESTS))
def test_linked_packages_are_imported_below_partae_fast_alone(path):
    """From a checkout `import kernels` would work, and register every op a second time."""
    assert not {name.partition(".")[0] for name in imports(path)} & {*LINKED}


@pytest.mark.parametrize("path", names(sorted((ROOT / "kernels").rglob("*.py"))))
def test_kernels_know_nothing_but_kernels(path):
    assert reached(path, "partae_fast") == reached(path, "partae_fast.kernels")


ROOMS = ("_eager", "_cpu", "_triton", "_cuda")  # what the implementations of several ops share
OPS = {p.name for p in (ROOT / "kernels").iterdir() if (p / "eager.py").is_file()}


@pytest.mark.parametrize("path", names(sorted(p for room in ROOMS for p in (ROOT / "kernels" / room).glob("*.py"))))
def test_rooms_know_no_op(path):
    """And none but their own, so that an op in plain PyTorch needs no compiler."""
    others = OPS | {*ROOMS} - {path.parent.name}
    assert not {name.split(".")[2] for name in imports(path) if name.startswith("partae_fast.kernels.")} & others


COMPOSED = {"train_steps": {"encode", "decode", "partitioned_loss"}}  # a whole step is made of ops


@pytest.mark.parametrize("path", names(sorted(p for op in OPS for p in (ROOT / "kernels" / op).glob("*.py"))))
def test_ops_import_no_other_op(path):
    op = path.parent.name
    others = OPS - {op} - COMPOSED.get(op, set())
    assert not {name.split(".")[2] for name in imports(path) if name.startswith("partae_fast.kernels.")} & others


@pytest.mark.parametrize("path", names(sorted((ROOT / "reference").rglob("*.py"))))
def test_reference_imports_numpy_alone(path):
    others = {name.partition(".")[0] for name in imports(path)} - {*STANDARD} - {"numpy", "partae_fast"}
    assert not others
    assert reached(path, "partae_fast") == reached(path, "partae_fast.reference")


@pytest.mark.parametrize("path", names(LIBRARY))
def test_reference_and_bench_are_for_checks_alone(path):
    part = path.relative_to(ROOT / "partae_fast").parts
    if part[0] != "conformance":
        assert not reached(path, "partae_fast.reference")
    if part != ("cli", "bench.py"):
        assert not reached(path, "partae_fast.bench")
    if part[0] != "conformance" and part != ("cli", "verify.py"):
        assert not reached(path, "partae_fast.conformance")


# From the top down: a part imports from the layers below its own, and from no other part of its own layer.
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
    ("functional", "plot_style", "checked_safetensors", "file_lock"),
    ("kernels", "atomic", "interrupts"),
    ("errors",),
)
RANK = {part: number for number, layer in enumerate(LAYERS) for part in layer}
ABOVE_ALL = ("__init__", "__main__", "conformance")  # which import what they please


def part_of(path: Path) -> str:
    """The folder of the library that a file is in, or the file itself where it is in none."""
    return path.relative_to(ROOT / "partae_fast").parts[0].removesuffix(".py")


def wrong_arrows(path: Path) -> set[str]:
    """The parts that a file imports from and may not: those of its own layer or of one above it."""
    own = part_of(path)
    if own in ABOVE_ALL:
        return set()
    parts = {name.split(".")[1] for name in reached(path, "partae_fast") if "." in name}
    return {part for part in parts - {own, "__version__"} if part not in RANK or RANK[part] <= RANK[own]} - APART


APART = {"reference", "bench", "conformance"}  # which `test_reference_and_bench_are_for_checks_alone` holds


def test_every_part_has_a_layer():
    assert {part_of(path) for path in LIBRARY} - {*ABOVE_ALL} == {*RANK} - {"kernels"}


@pytest.mark.parametrize("path", names(LIBRARY))
def test_arrows_run_one_way(path):
    assert not wrong_arrows(path)


WRONG = {
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


@pytest.mark.parametrize("place", WRONG)
def test_a_wrong_import_in_any_folder_is_seen(place, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "partae_fast" / place
    path.parent.mkdir(parents=True)
    path.write_text(WRONG[place] + "\n")
    assert wrong_arrows(path)


def test_no_two_files_import_each_other():
    """No file reaches itself by imports, those within functions left out, through files of the library."""
    files = {module_of(path): path for path in LIBRARY + BEHIND_LINKS}
    arrows = {name: {n for n in imports(path, deep=False) if n in files} - {name} for name, path in files.items()}
    packages = {module_of(path) for path in files.values() if path.name == "__init__.py"}
    arrows = {name: {n for n in found if n not in packages} for name, found in arrows.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for further in sorted(arrows[name]):
                visit(further, (*way, name))
            done.add(name)

    for name in files:
        visit(name, ())


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_brings_nothing_but_numpy_and_torch():
    code = """
import sys, numpy.random, torch
before = set(sys.modules)
import partae_fast, partae_fast.cli
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""
    assert set(run_python(code).split()) <= {"numpy", "partae_fast"}


def test_import_and_a_plain_model_need_none_of_the_compilers():
    code = """
import importlib.abc, importlib.machinery, sys
import torch
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("numba", "triton", "cupy", "llvmlite"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
real = importlib.util.find_spec
absent = ("numba", "triton", "cupy")
importlib.util.find_spec = lambda name, package=None: None if name in absent else real(name, package)
import partae_fast as pf
assert [name for name, state in pf.backends().items() if state.available] == ["reference", "eager"], pf.backends()
model = pf.ConvPartitionedAutoencoder(bins=8, latents=4, taps=3, pool=4)
print(tuple(model(torch.rand(2, 20, 8)).shape))
"""
    assert run_python(code) == "(2, 20, 8)"


def test_there_is_something_to_check():
    assert len(LIBRARY) > 20 and len(BEHIND_LINKS) > 15 and len(TESTS) > 15
