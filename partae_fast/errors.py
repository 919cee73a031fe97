"""The one exception that the command line turns into a line on stderr and exit code 2."""


class UserError(ValueError):
    """A mistake in what the user gave: one line with what was seen, what was wanted and what to do."""
