"""Names as a terminal and a page can show them."""


def printable(text: object) -> str:
    r"""Text in one line: what does not print or turns the direction of writing is escaped.

    >>> printable("a\nb \u202egpj.exe")
    'a\\nb \\u202egpj.exe'
    """
    joiner = "\u200d"  # holds emoji together
    return "".join(
        c if c.isprintable() or c == joiner else c.encode("unicode_escape").decode()
        for c in str(text)
    )
