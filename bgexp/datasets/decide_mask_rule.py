"""Decide once for a whole dataset what the values of its masks mean.

Public sets store masks as 0/255, 0/1, 0/128/255, label maps, palettes with 255 for void, trimaps
1/2/3, alpha. A single file may look like several of these; all files together rarely do.
"""

from collections import Counter
from collections.abc import Sequence

from bgexp.config.datasets import Pairs
from bgexp.config.detectors import Masks
from bgexp.datasets.mask_rule import MaskRule, name_values
from bgexp.errors import UserError
from bgexp.images.mask_values import Histogram, MaskContent, Reading

VOC_VOID = 0xE0E0C0  # PASCAL VOC's colour of what belongs to no class
DARK = 32  # labels are counted from 1: where the least is greater, values are shades
LIGHT = 192


class _AmbiguousError(Exception):
    """The values allow for more than one meaning; the message says which, in a few words."""


def decide_mask_rule(
    contents: Sequence[MaskContent], settings: Pairs | Masks, section: str = "dataset"
) -> MaskRule:
    """Return what the values of the masks mean, by the settings and by what all masks hold.

    Args:
        contents: What the masks hold.
        settings: Those of a dataset, or of a detector's masks, in which nothing is void.
        section: Of the settings, for error messages.

    Raises:
        UserError: More than one meaning is possible, or a value of the settings does not occur.
    """
    chosen = settings.mask_values
    reading = _decide_reading(contents, by_luminance=chosen in ("threshold", "alpha"))
    planes = [plane for content in contents if (plane := _pick_plane(content, reading))]
    values = _describe_values(planes, reading)
    ignored = settings.ignore_values if isinstance(settings, Pairs) else ()
    fixed_void = None if ignored is None else _parse(ignored)
    if isinstance(chosen, tuple):
        _refuse_absent(_parse(chosen), contents, reading, values, section)
        rule = MaskRule("values", _parse(chosen), fixed_void or (), reading)
    elif chosen != "auto":
        rule = MaskRule(chosen, (), fixed_void or (), reading)
    else:
        try:
            rule = _decide_meaning(planes, reading, fixed_void, isinstance(settings, Masks))
        except _AmbiguousError as error:
            void = "; dataset.ignore_values=[255] names void" if section == "dataset" else ""
            raise UserError(
                f"{section}.mask_values: what the masks mean is not clear: {error}; they hold "
                f"{values} ({len(contents)} masks). Say which are the object: threshold (over 127 "
                f"of 255) | alpha (levels) | nonzero | a list such as [1,2]{void}"
            ) from error
    alpha = "alpha" if reading.alpha else ""
    text = "; ".join(part for part in (f"found {values}" if values else "", alpha) if part)
    return MaskRule(rule.meaning, rule.foreground, rule.void, reading, text, len(contents))


def _parse(values: Sequence[int | str]) -> tuple[int, ...]:
    """Return values as numbers: colours are given as "#rrggbb"."""
    return tuple(int(v[1:], 16) if isinstance(v, str) else v for v in values)


def _decide_reading(contents: Sequence[MaskContent], by_luminance: bool) -> Reading:
    alpha = any(content.alpha_varies for content in contents)
    if by_luminance:
        return Reading(alpha=alpha)
    others = [content for content in contents if not (alpha and content.has_alpha)]
    return Reading(
        alpha=alpha,
        index=any(content.has_coloured_palette for content in others),
        colour=any(content.colour is not None for content in others),
        deep=_has_deep_labels([content for content in others if content.is_deep]),
    )


def _has_deep_labels(contents: Sequence[MaskContent]) -> bool:
    """Return whether numbers of 16 bits or more stand for themselves: 0/1, 0/255, labels."""
    planes = [content.deep for content in contents]
    if any(plane is None for plane in planes):  # fractions
        return False
    whole = [plane for plane in planes if plane is not None]
    if all(plane.high <= 255 for plane in whole):
        return bool(whole)
    # White is 65535 where all are grey levels of 8 bits, 257 apart, or there are very many.
    return not any(plane.graded for plane in whole) and any(
        value % 257 for plane in whole for value in plane.counts
    )


def _pick_plane(content: MaskContent, reading: Reading) -> Histogram | None:
    """Return the values of a file that need a meaning; None where it is read by its alpha."""
    if content.has_alpha and reading.alpha:
        return None
    if content.index is not None and reading.index:
        return content.index
    if content.deep is not None and reading.deep:
        return content.deep
    if reading.colour:
        if content.colour is not None:
            return content.colour
        grey = content.grey
        counts = {value * 0x010101: n for value, n in grey.counts.items()}
        low, high = grey.low * 0x010101, grey.high * 0x010101
        return Histogram(counts, low, high, grey.graded, grey.n_light, grey.n_nonzero)
    return content.grey


def _describe_values(planes: Sequence[Histogram], reading: Reading) -> str:
    if not planes:
        return ""
    if any(plane.graded for plane in planes):
        ends = [min(plane.low for plane in planes), max(plane.high for plane in planes)]
        return name_values(ends, reading).replace(", ", " to ") + ", many values"
    values = sorted({value for plane in planes for value in plane.counts})
    return name_values(values, reading)


def _refuse_absent(
    chosen: Sequence[int],
    contents: Sequence[MaskContent],
    reading: Reading,
    found: str,
    section: str,
) -> None:
    planes = [plane for content in contents if (plane := _pick_plane(content, reading))]
    if not planes or any(plane.graded for plane in planes):
        return
    if not any(value in plane.counts for plane in planes for value in chosen):
        raise UserError(
            f"{section}.mask_values: no mask holds {name_values(chosen, reading)} "
            f"(the {len(contents)} masks hold {found})"
        )


def _decide_meaning(
    planes: Sequence[Histogram],
    reading: Reading,
    fixed_void: tuple[int, ...] | None,
    are_soft: bool,
) -> MaskRule:
    if reading.colour:
        return _decide_colours(planes, fixed_void)
    if any(plane.graded for plane in planes) and are_soft:
        rule = MaskRule(
            "threshold"
        )  # a tool may be sure of nothing, and gives no numbers of objects
    elif any(plane.graded for plane in planes):
        rule = _decide_graded(planes, fixed_void or ())
    else:
        rule = _decide_labels(planes, reading, fixed_void)
    if rule.meaning == "threshold":
        _refuse_mixture(planes, rule.void)
    return rule


def _refuse_mixture(planes: Sequence[Histogram], void: Sequence[int]) -> None:
    """Refuse 0/1 files among 0/255 ones: they would be read as empty."""
    dark = sum(
        not plane.graded and 0 < plane.high <= DARK and len(plane.counts) <= 2
        for plane in planes
        if plane.high not in void
    )
    if dark:
        raise _AmbiguousError(f"{dark} of them end at 1 to {DARK}, others at 255")


def _decide_graded(planes: Sequence[Histogram], void: tuple[int, ...]) -> MaskRule:
    high = max(plane.high for plane in planes)
    light, nonzero = sum(p.n_light for p in planes), sum(p.n_nonzero for p in planes)
    if high < LIGHT:
        raise _AmbiguousError("none of the many values is near white")
    if 3 * light < nonzero:
        raise _AmbiguousError("many values, few of them near white: shades, or numbers of objects")
    return MaskRule("threshold", void=void)


def _decide_labels(
    planes: Sequence[Histogram], reading: Reading, fixed_void: tuple[int, ...] | None
) -> MaskRule:
    counts: Counter[int] = Counter()
    for plane in planes:
        counts.update(plane.counts)
    for value in fixed_void or ():
        counts.pop(value, None)
    values, void = set(counts), fixed_void or ()
    usual = _find_usual_meaning(values, fixed_void)
    if usual is not None:
        return usual
    if 0 not in values:
        raise _AmbiguousError("none is 0, the usual background")
    if reading.index:
        return MaskRule("nonzero", void=(255,) if fixed_void is None and 255 in values else void)
    if 255 in values:
        return _decide_labels_with_white(counts, planes, fixed_void)
    if min(values - {0}) > DARK:
        raise _AmbiguousError("neither labels from 1 nor black and white")
    return MaskRule("nonzero", void=void)


def _find_usual_meaning(values: set[int], fixed_void: tuple[int, ...] | None) -> MaskRule | None:
    """Return the meaning of the few sets of values that have only one."""
    free, void = fixed_void is None, fixed_void or ()
    if values <= {0, 255}:
        return MaskRule("threshold", void=void)
    if values == {1} or (len(values) == 2 and 0 in values):
        return MaskRule("nonzero", void=void)
    if values == {1, 2, 3} and free:
        return MaskRule("values", (1,), (3,))
    if values in ({0, 127, 255}, {0, 128, 255}):
        return MaskRule("threshold", void=tuple(values - {0, 255}) if free else void)
    return None


def _decide_labels_with_white(
    counts: Counter[int], planes: Sequence[Histogram], fixed_void: tuple[int, ...] | None
) -> MaskRule:
    """Decide on grey files with 0, 255 and others: labels with void, or white with soft edges."""
    labels = set(counts) - {0, 255}
    n_labels, n_white = sum(counts[label] for label in labels), counts[255]
    n_between = sum(64 <= label < LIGHT for label in labels)
    if n_between and len(labels) > 1 and 4 * n_labels <= n_white:
        return MaskRule("threshold", void=fixed_void or ())
    if 50 * n_labels <= n_white:  # a stray pixel
        return MaskRule("threshold", void=fixed_void or ())
    with_white = [plane for plane in planes if 255 in plane.counts]
    together = sum(bool(labels & plane.counts.keys()) for plane in with_white)
    if min(labels) <= DARK and n_labels > n_white and 2 * together >= len(with_white):
        if fixed_void is None:
            return MaskRule("nonzero", void=(255,))
        return MaskRule("nonzero", void=fixed_void)
    raise _AmbiguousError("255 may be the object or void")


def _decide_colours(planes: Sequence[Histogram], fixed_void: tuple[int, ...] | None) -> MaskRule:
    if any(plane.graded for plane in planes):
        raise _AmbiguousError("many colours, as of photographs")
    values = {value for plane in planes for value in plane.counts} - set(fixed_void or ())
    void = ((VOC_VOID,) if VOC_VOID in values else ()) if fixed_void is None else fixed_void
    if 0 not in values:
        raise _AmbiguousError("none is black, the usual background")
    if 0xFFFFFF in values:
        raise _AmbiguousError("white beside colours")
    return MaskRule("nonzero", void=void)
