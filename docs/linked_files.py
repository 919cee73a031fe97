"""A hook of mkdocs: files outside docs/ that its pages link to become part of the site.

A link such as ../bench/results/cpu/encode.md leads to the file in a checkout. On the site the file is at
repository/bench/results/cpu/encode.md, and so are the files that it links to in turn.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(\.\./)+([^)\s#]+)")
ANY_LINK = re.compile(r"\]\(([^)\s#]+)")


def on_files(files, config):
    """Add each file of the repository that a page links to, and what that file links to."""
    waiting = [ROOT / match[2] for page in files.documentation_pages() for match in LINK.finditer(page.content_string)]
    added = set()
    while waiting:
        path = waiting.pop().resolve()
        if path in added or not path.is_file() or not path.is_relative_to(ROOT):
            continue
        added.add(path)
        name = f"repository/{path.relative_to(ROOT).as_posix()}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
        if path.suffix == ".md":
            targets = ANY_LINK.findall(path.read_text())
            waiting += [path.parent / target for target in targets if "://" not in target]
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links to files outside docs/ to their places on the site."""
    if page.file.src_uri.startswith("repository/"):
        return markdown
    return LINK.sub(r"repository/\2", markdown)
