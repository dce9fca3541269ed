"""What settings were called before, so that an old name gets its new one as the hint."""

SETTINGS = {
    "which": "runs",
    "runs": "runs_dir",
    "processes": "workers",
    "seconds": "timeout_s",
    "model": "network",
    "start": "init or initial_mask",
    "n": "n_pairs or n_images",
    "analyze.exif": "exif",
    "analyze.metadata": "metadata",
    "analyze.outliers": "outliers",
    "analyze.expected": "expected",
    "analyze.near_bits": "max_hash_distance",
    "quality.handle": "quality.enabled",
    "flags.little_kept": "flags.low_coverage",
    "flags.nearly_all_kept": "flags.high_coverage",
    "flags.cut_by_frame": "flags.border_contact",
    "flags.unsure": "flags.low_confidence",
}
CHOICES = {("refine", "network"): "unet", ("training", "mask_network"): "unet"}
VALUES = {"detector.backend": {"eager": "torch"}, "network": {"refiner": "unet"}}
COMMANDS = {"tune": "autotune"}


def add_hint(line: str, name: str | None) -> str:
    """Add to a mistake's line the name that may have been meant."""
    return f"{line} (did you mean {name}?)" if name else line
