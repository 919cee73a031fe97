"""Run the command line: `python -m partae_fast` does the same as `partae`."""

import sys

from .cli import main

sys.exit(main())
