"""Errors that are the user's to mend: shown as one line, never as a traceback."""


class UserError(Exception):
    """Wrong use or settings; the command line prints the message and exits with 2."""
