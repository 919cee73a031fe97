"""`UserError`, and tests for other errors that a user can fix.

The command line prints a UserError as one line and exits with code 2.
"""

import errno

# File errors that the user can fix. Any other error is a bug and is raised unchanged.
USER_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.EIO,
}
# Messages of PyTorch's allocators that do not raise OutOfMemoryError.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


class UserError(ValueError):
    """A mistake in the user's input.

    The message says in one line what is wrong, what is accepted and how to fix it.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the host or a GPU ran out of memory."""
    from torch import OutOfMemoryError

    return isinstance(error, MemoryError | OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(part in str(error) for part in _NO_MEMORY)
    )
