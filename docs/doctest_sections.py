"""An extension of griffe: doctests at the end of a docstring are shown as its examples, not as quotations."""

import inspect
from typing import Any

import griffe


class DoctestSections(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Put the docstring's doctests, from the first one on, into a section of their own."""
        if obj.docstring is None:
            return
        lines = inspect.cleandoc(obj.docstring.value).splitlines()
        first = next((number for number, line in enumerate(lines) if line.startswith(">>> ")), None)
        if first is not None:
            examples = [f"    {line}" if line else "" for line in lines[first:]]
            obj.docstring.value = "\n".join([*lines[:first], "Examples:", *examples])
