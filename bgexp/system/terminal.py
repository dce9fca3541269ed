"""Names as a terminal and a page can show them, and words as a shell reads them."""

import logging
import shlex


def make_printable(text: object) -> str:
    r"""Return text in one line: unprintable characters and marks of direction are escaped.

    >>> make_printable("a\nb \u202egpj.exe")
    'a\\nb \\u202egpj.exe'
    """
    joiner = "\u200d"  # holds emoji together
    if (line := str(text)).isprintable():
        return line
    return "".join(
        c if c.isprintable() or c == joiner else c.encode("unicode_escape").decode() for c in line
    )


def shorten_line(text: object, length: int) -> str:
    r"""Return `make_printable` of text; of one that is too long, its beginning and its end.

    >>> shorten_line("a\tb", 60), shorten_line("x" * 50 + "y" * 50, 40)
    ('a\\tb', 'xxxxxxxxxxxxx … 74 characters … yyyyyyyyyyyyy')
    """
    line = make_printable(text)
    if len(line) <= length:
        return line
    kept = length // 3
    return f"{line[:kept]} … {len(line) - 2 * kept:,} characters … {line[-kept:]}"


class PrintableRecord(logging.LogRecord):
    """What is logged, in a line that steers no terminal: names of files and errors are in it."""

    def getMessage(self) -> str:  # noqa: N802
        """Return the message."""
        return make_printable(super().getMessage())


def quote_for_shell(word: str) -> str:
    r"""Return a word as a shell reads it, in one line; control characters by bash's $'…'.

    >>> print(quote_for_shell("it's"), quote_for_shell("a\nb"))
    'it'"'"'s' $'a\nb'
    """
    if make_printable(word) == word:
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{''.join(map(_escape_for_bash, escaped))}'"


def _escape_for_bash(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return make_printable(character)
