"""Names as a terminal and a page can show them."""


def make_printable(text: object) -> str:
    r"""Return text in one line: unprintable characters and marks of direction are escaped.

    >>> make_printable("a\nb \u202egpj.exe")
    'a\\nb \\u202egpj.exe'
    """
    joiner = "\u200d"  # holds emoji together
    return "".join(
        c if c.isprintable() or c == joiner else c.encode("unicode_escape").decode()
        for c in str(text)
    )
