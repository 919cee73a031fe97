"""The one exception that the command line turns into a line on stderr and exit code 2, and errors that are like it."""

import errno

# Errors of files that the user can mend; any other is a fault of ours and is raised as it is.
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
# What PyTorch's allocators say where they raise no OutOfMemoryError.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


class UserError(ValueError):
    """A mistake in what the user gave: one line with what was seen, what was wanted and what to do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, the host's or a GPU's."""
    from torch import OutOfMemoryError

    return isinstance(error, MemoryError | OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(part in str(error) for part in _NO_MEMORY)
    )
