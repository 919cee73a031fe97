"""Helpers of the tests of label files."""


def write_file(folder, content, name="a.txt"):
    """Write text, as UTF-8, or bytes to a file in the folder; return its path."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
