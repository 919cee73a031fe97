"""`python -m partae_fast` is `partae`."""

import sys

from .cli import main

sys.exit(main())
