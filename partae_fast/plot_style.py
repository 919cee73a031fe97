"""How figures look: fonts, lines and resolution."""

from typing import Any

DPI = 300  # dots per inch, as printers ask for
STYLE: Any = {"font.size": 8.0, "axes.titlesize": 8.0, "axes.linewidth": 0.6, "figure.titlesize": 9.0}
