"""Fonts, line widths and resolution of all figures."""

from typing import Any

DPI = 300  # dots per inch, the usual requirement for print
STYLE: Any = {"font.size": 8.0, "axes.titlesize": 8.0, "axes.linewidth": 0.6, "figure.titlesize": 9.0}
