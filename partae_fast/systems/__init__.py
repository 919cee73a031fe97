"""One file for each published system: its settings, and the function that trains it; `registry` finds them."""
