"""Which images the network is not made for, by their size."""

from bgexp.config.batch import QualityRules


def find_shape_issues(width: int, height: int, rules: QualityRules) -> list[str]:
    """Return which of the rules an image of this size, in pixels, falls under."""
    longer, shorter = max(width, height), min(width, height)
    issues = {
        "huge": width * height > 1e6 * rules.huge_megapixels,
        "tiny": longer < rules.tiny_side,
        "elongated": longer > rules.elongation * shorter,
    }
    return [name for name, applies in issues.items() if applies]
