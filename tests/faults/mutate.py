"""Small files changed at random, by a seed."""

import random
import re

NUMBERS = [
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"4294967296",
    b"9" * 400,
    b"0.5",
    b"2147483647",
    b"1e-320",
]
TOKENS = [
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",  # the mark of writing from right to left
    b"\xed\xa0\x80",  # half a surrogate
    b"\\ud800",
    b"\x1b[31m",
    b"\\u001b]0;x\\u0007",
    b"\r\n",
    b"\x85",
    b"../../etc/passwd",
    b"/dev/zero",
    b"${oc.env:HOME}",
    b"=cmd|' /C calc'!A0",
    b"<script>",
    b",",
    b";",
    b"\t",
    b'"',
    b"'",
    b"=",
    b"A" * 5000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b"," * 2000,
]
MOST_BYTES = 300_000


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Change data a few times, some of it by what stands in other files of its kind."""
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        data = rng.choice(CHANGES)(data, others, rng)[:MOST_BYTES]
    return data


def _choose_span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice([1, 2, 4, 16, 64, 1000]))


def flip_bits(data: bytes, _others: list[bytes], rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 10]) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(data: bytes, _others: list[bytes], rng: random.Random) -> bytes:
    start, end = _choose_span(data, rng)
    return data[:start] + bytes([rng.choice([0, 0x7F, 0x80, 0xFF])]) * (end - start) + data[end:]


def set_integer(data: bytes, _others: list[bytes], rng: random.Random) -> bytes:
    size = rng.choice([2, 4, 8])
    value = rng.choice([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63]) % 2 ** (
        8 * size
    )
    start = rng.randint(0, len(data))
    return data[:start] + value.to_bytes(size, rng.choice(["big", "little"])) + data[start + size :]


def cut_out(data: bytes, _others: list[bytes], rng: random.Random) -> bytes:
    start, end = _choose_span(data, rng)
    return data[:start] + data[end:]


def cut_off(data: bytes, _others: list[bytes], rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def repeat(data: bytes, _others: list[bytes], rng: random.Random) -> bytes:
    start, end = _choose_span(data, rng)
    return data[:end] + data[start:end] * rng.choice([1, 2, 100]) + data[end:]


def insert_token(data: bytes, _others: list[bytes], rng: random.Random) -> bytes:
    start = rng.randint(0, len(data))
    return data[:start] + rng.choice(TOKENS) + data[start:]


def replace_number(data: bytes, _others: list[bytes], rng: random.Random) -> bytes:
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", data[:20_000]))
    if not numbers:
        return data
    number = rng.choice(numbers)
    return data[: number.start()] + rng.choice(NUMBERS) + data[number.end() :]


def replace_word(data: bytes, _others: list[bytes], rng: random.Random) -> bytes:
    """Put a token in place of a word, a text in quotes or a value."""
    words = list(re.finditer(rb'"[^"]*"|\w+|=[^,\n]*', data[:20_000]))
    if not words:
        return data
    word = rng.choice(words)
    return data[: word.start()] + rng.choice(TOKENS) + data[word.end() :]


def splice(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


CHANGES = [
    flip_bits,
    set_bytes,
    set_integer,
    cut_out,
    cut_off,
    repeat,
    insert_token,
    replace_number,
    replace_word,
    splice,
]
