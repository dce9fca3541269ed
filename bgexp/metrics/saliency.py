"""Scores from the study of salient objects: structure, alignment and weighted F-measure.

They equal the authors' code, as PySODMetrics ports it with ``normalize=False``, wherever that gives
a number. So its epsilon is kept, which changes a score by more than 1e-6 only where mask and truth
both cover less than about 1 / 1000, or nearly all, of the image or of a quadrant.
"""

import math
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.images.distances import measure_distances
from bgexp.metrics.counts import BoolMask, count, leave_out, ratio

EPSILON = float(np.finfo(float).eps)

# The weighted F-measure's window of 7x7 pixels, and where a pixel's nearest true one can lie if a
# true one is in the window: nearest first, of equally near ones the leftmost, then the uppermost,
# which is the choice of scipy's distance_transform_edt.
RADIUS, SIGMA = 3, 5.0
REACH = math.isqrt(2 * RADIUS**2)
WINDOW = cv2.getGaussianKernel(2 * RADIUS + 1, SIGMA, cv2.CV_64F)
NEAREST_FIRST = sorted(
    (
        (row, column)
        for row, column in product(range(-REACH, REACH + 1), repeat=2)
        if 0 < row**2 + column**2 <= 2 * RADIUS**2
    ),
    key=lambda step: (step[0] ** 2 + step[1] ** 2, step[1], step[0]),
)


def s_measure(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute the structure measure, 0 to 1 (Fan et al., ICCV 2017): half object, half region.

    Object: 2 m / (m^2 + 1 + s), of the mean m and the sample deviation s of P inside G, and of ~P
    outside it, weighted by area. Region: SSIM in the four quadrants around the truth's centroid,
    weighted by area; where P and G are each constant it is 1, even if they differ. A sum below 0
    is 0. The inverse of a good mask may therefore score above 0.

    Truth empty: 1 - mean P. Truth full: mean P. Mask empty: half the background's share, or more.
    Both empty: 1. A quadrant without pixels has no weight (in PySODMetrics it makes the score NaN).
    """
    mask, truth, n = leave_out(mask, truth, void)
    n_mask, n_truth, n_both = count(mask, truth)
    if n_truth in (0, n):
        return ratio(n_mask if n_truth else n - n_mask, n)
    n_background = n - n_truth
    left_out = n_background - (n_mask - n_both)
    similar = n_truth * _s_object(n_both, n_truth) + n_background * _s_object(
        left_out, n_background
    )
    known = np.ones_like(mask) if void is None else ~void
    return max(0.0, (similar / n + _s_region(mask, truth, known)) / 2)


def e_measure(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute the enhanced-alignment measure (Fan et al., IJCAI 2018), 0 to N / (N - 1).

    With a and b for P and G minus their means: the sum of (2ab / (a^2 + b^2) + 1)^2 / 4 over N - 1,
    as in the authors' code, so that a perfect score is above 1 by 1 / (N - 1).

    The mask is the binary map: no threshold is searched. That is the adaptive variant, but for an
    empty mask, which the adaptive threshold makes full. Of a bool mask the variant over 256
    thresholds has this value at all but the lowest, at which the map is full: their maximum is
    max(E, E of a full mask) and their mean (255 E + E of a full mask) / 256.

    Truth empty: the pixels left out, over N - 1. Truth full: the pixels kept, over N - 1.
    Mask empty or full, truth neither: a quarter of the best. Both empty: the best. N = 1: NaN.
    """
    mask, truth, n = leave_out(mask, truth, void)
    n_mask, n_truth, n_both = count(mask, truth)
    if n <= 1:
        return math.nan
    if n_truth in (0, n):
        return (n_mask if n_truth else n - n_mask) / (n - 1)
    p, g = n_mask / n, n_truth / n
    aligned = (
        n_both * _compute_alignment(1 - p, 1 - g)
        + (n_mask - n_both) * _compute_alignment(1 - p, -g)
        + (n_truth - n_both) * _compute_alignment(-p, 1 - g)
        + (n - n_mask - n_truth + n_both) * _compute_alignment(-p, -g)
    )
    return aligned / (n - 1)


def weighted_f(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute the weighted F-measure, beta^2 = 1 (Margolin et al., CVPR 2014): 0 worst, 1 best.

    A lost pixel of the foreground costs the Gaussian mean of the errors around it (7x7, sigma 5;
    0 beyond the image or where void), where a background pixel has the error of the true pixel
    nearest to it.
    A kept pixel of the background costs 2 - 0.5^(d / 5) at a distance of d pixels from the truth.

    Truth empty: 0. Mask empty: 0, or more where truth within 3 pixels of the image's edge is
    forgiven a part of its loss. Both empty: NaN.
    """
    mask, truth, _ = leave_out(mask, truth, void)
    n_mask, n_truth, _ = count(mask, truth)
    if n_truth == 0:
        return 0.0 if n_mask else math.nan
    box = _find_surroundings(mask | truth)
    mask, truth = mask[box], truth[box]
    void = None if void is None else void[box]
    recalled = max(0.0, n_truth - _compute_cost_of_lost(truth & ~mask, truth, void))
    return 2 * recalled / (n_truth + recalled + _compute_cost_of_extra(mask & ~truth, truth))


def _s_object(n_right: int, n: int) -> float:
    """Compute the similarity of n bools, of which `n_right` are right, to n that all are."""
    mean = n_right / n
    deviation = math.sqrt(n_right * (n - n_right) / (n * max(n - 1, 1)))
    return 2 * mean / (mean**2 + 1 + deviation)


def _s_region(mask: BoolMask, truth: BoolMask, known: BoolMask) -> float:
    """Compute the quadrants' mean SSIM; the centroid's row and column are in the upper left."""
    halves = []
    for axis in (0, 1):
        profile = np.count_nonzero(truth, axis=1 - axis)
        middle = round(int(np.arange(profile.size) @ profile) / int(profile.sum())) + 1
        halves.append((slice(0, middle), slice(middle, None)))
    total = 0.0
    for quadrant in product(*halves):
        if n := int(np.count_nonzero(known[quadrant])):
            total += n * _ssim(mask[quadrant], truth[quadrant], n)
    return total / int(np.count_nonzero(known))


def _ssim(mask: BoolMask, truth: BoolMask, n: int) -> float:
    n_mask, n_truth, n_both = count(mask, truth)
    scale = n * max(n - 1, 1)
    covariance = (n * n_both - n_mask * n_truth) / scale
    variances = (n_mask * (n - n_mask) + n_truth * (n - n_truth)) / scale
    x, y = n_mask / n, n_truth / n
    bound = (x**2 + y**2) * variances
    return 4 * x * y * covariance / (bound + EPSILON) if bound else 1.0


def _compute_alignment(a: float, b: float) -> float:
    return (2 * a * b / (a**2 + b**2 + EPSILON) + 1) ** 2 / 4


def _find_surroundings(mask: BoolMask) -> tuple[slice, slice]:
    """Return the box of a mask and what its windows reach: outside it no pixel costs anything."""
    left, top, columns, rows = cv2.boundingRect(mask.view(np.uint8))
    return np.s_[
        max(top - RADIUS, 0) : top + rows + RADIUS, max(left - RADIUS, 0) : left + columns + RADIUS
    ]


def _compute_cost_of_lost(lost: BoolMask, truth: BoolMask, void: BoolMask | None) -> float:
    if not lost.any():
        return 0.0
    errors = _mark_errors(lost, truth, void)
    blurred = cv2.sepFilter2D(errors, cv2.CV_64F, WINDOW, WINDOW, borderType=cv2.BORDER_CONSTANT)
    return float(blurred[lost].sum())


def _mark_errors(
    lost: BoolMask, truth: BoolMask, void: BoolMask | None = None
) -> NDArray[np.uint8]:
    """Mark pixels, HxW: 1 = lost, or nearest to a lost one; right within 3 pixels of a lost one."""
    square = np.ones(2 * (2 * RADIUS + 1,), np.uint8)
    near = cv2.dilate(lost.view(np.uint8), square).view(np.bool_) & ~truth
    if void is not None:
        near &= ~void
    was_lost, is_true, is_near = (np.pad(a, REACH).ravel() for a in (lost, truth, near))
    rows, columns = (side + 2 * REACH for side in lost.shape)
    errors, waiting = was_lost.astype(np.uint8), np.flatnonzero(is_near)
    for row, column in NEAREST_FIRST:
        neighbours = waiting + row * columns + column
        is_found = is_true[neighbours]
        errors[waiting[is_found]] = was_lost[neighbours[is_found]]
        waiting = waiting[~is_found]
    return errors.reshape(rows, columns)[REACH:-REACH, REACH:-REACH]


def _compute_cost_of_extra(extra: BoolMask, truth: BoolMask) -> float:
    if not extra.any():
        return 0.0
    distances = measure_distances(~truth)[extra]
    return 2.0 * distances.size - float(np.exp2(distances.astype(float) / -5).sum())
