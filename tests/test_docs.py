"""Tests of README and docs: links, commands, code, paths and messages.

docs/troubleshooting.md quotes the beginnings of messages, without the file name before them and with … for each value.
"""

import argparse
import ast
import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

import partae_fast as pf
from partae_fast import cli
from partae_fast.bench import encode_versions

ROOT = Path(__file__).resolve().parents[1]
CORPORA = ROOT / "bench" / "corpora" / "README.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", CORPORA, *sorted((ROOT / "docs").glob("*.md"))]
TUTORIALS = sorted((ROOT / "docs").glob("tutorial-*.md"))
TROUBLE = ROOT / "docs" / "troubleshooting.md"
# The parts with warnings that users of `train`, `denoise`, `labels`, `report` and `evaluate` may see.
PARTS = ("audio", "cli", "denoising", "evaluation", "labels", "report", "training")


def pages() -> list:
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES]


def template(node: ast.expr) -> str | None:
    """Return the text of a string or f-string in the source, with … for each value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[-+.\d]*[sdgfr]", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


@cache
def messages() -> frozenset[str]:
    """Return every string of the library, without the prefix "FILE, line N: "."""
    texts = set()
    for path in (ROOT / "partae_fast").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = template(node) if isinstance(node, ast.expr) else None
            if text:
                texts.add(message(text))
    return frozenset(texts)


def message(text: str) -> str:
    return re.sub(r"^…(, line (…|1))?: ", "", text)


def warnings() -> list[str]:
    """Return the warnings of `PARTS`, except those that only pass on a message."""
    texts = []
    for part in PARTS:
        for path in (ROOT / "partae_fast" / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "logger.warning":
                    text = message(template(node.args[0]) or "…")
                    texts += [] if text == "…" else [text]
    return texts


def quotes() -> list[str]:
    """Return the quoted messages, which are in backticks in the first column."""
    return re.findall(r"^\| `([^`]+)` \|", TROUBLE.read_text(), re.MULTILINE)


def test_messages_are_read_from_source_code():
    source = 'logger.warning("%s: %d of %d channels are " "silent: %.1f", a)\nf"{x}, line {n}: {y!r} found"'
    expressions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.expr)]
    texts = {message(text) for node in expressions if (text := template(node))}
    assert {"… of … channels are silent: …", "… found"} <= texts


@pytest.mark.parametrize("quote", quotes())
def test_quoted_messages_are_in_the_source(quote):
    assert any(text.startswith(quote) for text in messages()), f"no message begins with: {quote}"


def test_every_warning_is_explained():
    missing = [text for text in warnings() if not any(text.startswith(quote) for quote in quotes())]
    assert not missing, f"add a row to docs/troubleshooting.md for each of: {missing}"
    assert len(warnings()) > 8 and len(quotes()) > 25


@pytest.mark.parametrize("page", pages())
def test_links_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub creates for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of each `partae` command in the shell blocks of a page."""
    arguments = []
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for command in line.split("&&"):
                words = shlex.split(command, comments=True)
                start = next(
                    (at for at, word in enumerate(words) if word.split("/")[-1] in ("partae", "partae_fast")), None
                )
                arguments += [] if start is None else [words[start + 1 :]]
    return arguments


@pytest.mark.parametrize("page", pages())
def test_commands_parse(page):
    for words in commands(page):
        try:
            cli._parser(words).parse_args(words)
        except SystemExit as stop:
            assert stop.code == 0, f"{page.name}: partae {' '.join(words)}"


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a parser's verbs, and of what the verbs choose from, such as the papers of `reproduce`."""
    choices = [a.choices.values() for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    below = [verb for verbs in choices for verb in verbs]
    own = {option for verb in below for action in verb._actions for option in action.option_strings}
    return own.union(*map(options_of, below))


@pytest.mark.parametrize("page", pages())
def test_mentioned_options_exist(page):
    existing = options_of(cli._parser([]))
    codes = re.findall(r"`((?:partae |--)[^`\n]+)`", page.read_text())
    mentioned = {option for code in codes for option in re.findall(r"--[a-z-]+", code)}
    others = {"--nproc-per-node", "--version"}  # of torchrun, and of `partae` without a verb
    assert mentioned <= existing | others


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", pages())
def test_python_code_uses_existing_names(page):
    for block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pf":
                assert hasattr(pf, node.attr), f"{page.name}: pf.{node.attr}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_mentioned_paths_exist(page):
    """CONTRIBUTING.md is left out, because its recipes name new files."""
    for path in re.findall(r"`((?:reference|kernels|tests|docs|bench|examples)/[a-z0-9_/.]+)`", page.read_text()):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_api_page_lists_every_public_name():
    listed = re.findall(r"^::: partae_fast\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(pf.__all__)


def test_navigation_lists_every_page():
    listed = re.findall(r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def outputs(page: Path) -> list[str]:
    """Return the quoted outputs of a page."""
    return re.findall(r"^```text\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_headings_of_quoted_tables_are_in_the_source():
    source = "".join(path.read_text() for part in ("cli", "labels", "training") for path in _sources(part))
    quoted = [heading for page in TUTORIALS for output in outputs(page) for heading in output.splitlines()[:1]]
    for heading in (line for line in quoted if re.search(r"\S {3,}\S", line)):
        for column in re.split(r" {2,}", heading):
            assert column in source, f"no table has a column {column}"
    assert len(quoted) >= 4


def _sources(part: str) -> list[Path]:
    return sorted((ROOT / "partae_fast" / part).rglob("*.py"))


def test_code_of_the_kernels_page_is_in_the_source():
    page = ROOT / "docs" / "kernels.md"
    source = {line.strip() for line in (ROOT / "bench" / "encode_versions.py").read_text().splitlines()}
    for block in python_blocks(page):
        assert [line for line in block.splitlines() if line.strip() not in source] == []
    reference = (ROOT / "reference" / "encode.py").read_text()
    for line in outputs(page)[0].splitlines():
        assert line in reference


def test_times_of_the_kernels_page_are_the_measured_times():
    report = json.loads((ROOT / "bench" / "results" / "cpu" / "encode_versions.json").read_text())
    page = (ROOT / "docs" / "kernels.md").read_text()
    assert encode_versions.table(report) in page
    versions = report["environment"]["versions"]
    assert all(text in page for text in (report["environment"]["date"], versions["numba"], versions["numpy"]))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) < 1500


def test_there_is_something_to_check():
    assert len(PAGES) >= 4 and sum(len(commands(page)) for page in PAGES) > 20
