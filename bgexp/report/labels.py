"""What metrics, checks and settings are called on a page."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

NAMES = {
    "iou": "IoU",
    "boundary_iou": "Boundary IoU",
    "foreground_recall": "Foreground recall",
    "background_leakage": "Background leakage",
    "mae": "MAE",
    "s_measure": "S-measure",
    "e_measure": "E-measure",
    "weighted_f": "Weighted F",
    "alpha_sad": "Alpha SAD",
    "alpha_mse": "Alpha MSE",
    "composite_error": "Error over other backgrounds",
    "nothing_found": "Nothing found",
    "border_contact": "Border contact",
    "refined_share": "Changed by refinement",
    "ap": "Mask AP",
    "ap50": "Mask AP at IoU 0.5",
    "ap75": "Mask AP at IoU 0.75",
}
MEANINGS = {
    "foreground_recall": "of the true foreground is kept",
    "background_leakage": "of what is kept is background",
    "coverage": "of the picture is kept",
    "nothing_found": "of the images have an empty mask",
    "confidence": "the detector's mean score",
    "parts": "separate pieces in a mask",
    "border_contact": "of the picture's border is in the mask",
}


def get_display_name(key: str) -> str:
    """Return the display name of a metric or a check."""
    words = key.replace("_", " ").capitalize()
    return NAMES.get(key, re.sub("^(Ap|Ar) ", lambda match: f"Mask {match[0].upper()}", words))


def list_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield all settings by their dotted names, as overrides have them.

    >>> list(list_settings({"seed": 0, "detector": {"labels": ["cat", "dog"], "weights": None}}))
    [('seed', '0'), ('detector.labels', '[cat,dog]'), ('detector.weights', 'null')]
    """
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from list_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _format_value(value)


def _format_value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_format_value, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def describe_section(section: Mapping[str, Any], besides: str) -> str:
    """Describe a section of the settings, without one of its keys, in one line."""
    items = [(k, v) for k, v in section.items() if k != besides and v is not None]
    return ", ".join(f"{k.replace('_', ' ')} {_format_value(v)}" for k, v in items)
