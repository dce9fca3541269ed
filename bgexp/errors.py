"""The errors and interruptions that end a command."""

import errno

# Errors of the storage and not of what is stored: every other write would fail, too.
STORAGE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
}


# Something else stands in the place of a file or a folder.
STRANGE = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP}


class UserError(Exception):
    """Wrong use or settings; the command line prints the message and exits with its code."""

    exit_code = 2


class HaltedError(UserError):
    """A failure of the machine, such as a full disk or a lost GPU; the settings are right."""

    exit_code = 1


class RefusedError(UserError):
    """A refusal by a gate: the settings are right, the result is not good enough."""

    exit_code = 1


class Interruption(BaseException):
    """Ctrl-C or SIGTERM. No Exception: nothing on the way may take it for a failure of its own.

    Attributes:
        exit_code: 130 or 143.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"interrupted (exit code {exit_code})")
        self.exit_code = exit_code


def get_last_line(error: BaseException) -> str:
    """Return the last line of an error's text, which in a traceback's says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
