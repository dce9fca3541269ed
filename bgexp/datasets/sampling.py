"""Sampling of a dataset by a seed, each category by its share."""

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from bgexp.system.hashing import hash_bytes


def sample_items(paths: Collection[str], n: int, seed: int) -> list[str]:
    """Return n of the paths (all where there are fewer), sorted, each category by its share.

    The same seed and set of paths give the same choice, in whatever order they come.
    """
    groups = defaultdict(list)
    for path in sorted(paths, key=lambda path: hash_bytes(f"{seed} {path}".encode())):
        groups[Path(path).parent].append(path)
    counts = _apportion({name: len(group) for name, group in groups.items()}, min(n, len(paths)))
    return sorted(path for name, group in groups.items() for path in group[: counts[name]])


def _apportion(sizes: dict[Path, int], n: int) -> dict[Path, int]:
    """Return how many to take of each category by largest remainder, the first before a tie.

    Where n allows one of each, categories whose share is less get one; the rest is shared.
    """
    total = sum(sizes.values())
    small = {name for name, size in sizes.items() if size * n < total}
    if small and n >= len(sizes):
        large = {name: size for name, size in sizes.items() if name not in small}
        return dict.fromkeys(small, 1) | _apportion(large, n - len(small))
    counts = {name: size * n // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(sizes[name] * n % total))
    for name in by_remainder[: n - sum(counts.values())]:
        counts[name] += 1
    return counts
