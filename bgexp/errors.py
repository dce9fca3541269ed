"""What ends a command other than success: the user's mistakes, and being told to stop."""


class UserError(Exception):
    """Wrong use or settings; the command line prints the message and exits with its code."""

    exit_code = 2


class HaltedError(UserError):
    """The work could not go on: the disk is full, the GPU is gone; the settings are right."""

    exit_code = 1


class RefusedError(UserError):
    """A gate said no: the settings are right, and what they ask for is not good enough."""

    exit_code = 1


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. No Exception: nothing on the way may take it for a failure of its own.

    Attributes:
        exit_code: 130 or 143.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"interrupted (exit code {exit_code})")
        self.exit_code = exit_code
