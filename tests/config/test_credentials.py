"""Credentials in messages; tests of settings and stores have the rest."""

import pytest

from bgexp.config.credentials import hide_credentials


def test_an_address_is_shown_without_user_and_password():
    text = "model: https://me:se/cret@host:5000/path?token=abc&a=1 is away"
    assert hide_credentials(text) == "model: https://host:5000/path?token=&a=1 is away"


@pytest.mark.parametrize(
    ("word", "shown"),
    [('{"a":' * 100_000, '{"a":' * 100_000), ("a://b:secret@c?" * 100_000, "***")],
)
def test_words_that_no_address_is_take_no_time(word, shown):
    """Expect an end: found by `make fuzz`, as a CSV of one long line that took 18 seconds."""
    assert hide_credentials(f"no column in {word}") == f"no column in {shown}"
