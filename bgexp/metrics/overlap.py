"""Scores from how many pixels two masks share: over the whole image, or along their boundaries."""

import math

import cv2
import numpy as np

from bgexp.metrics.counts import BoolMask, count, leave_out, ratio


def iou(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute intersection over union, |P & G| / |P | G| (Jaccard 1912): 0 worst, 1 best.

    Truth or mask empty: 0. Both empty: NaN.
    """
    mask, truth, _ = leave_out(mask, truth, void)
    n_mask, n_truth, n_both = count(mask, truth)
    return ratio(n_both, n_mask + n_truth - n_both)


def dice(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute the Dice coefficient, 2 |P & G| / (|P| + |G|) (Dice 1945): 0 worst, 1 best.

    Truth or mask empty: 0. Both empty: NaN.
    """
    mask, truth, _ = leave_out(mask, truth, void)
    n_mask, n_truth, n_both = count(mask, truth)
    return ratio(2 * n_both, n_mask + n_truth)


def precision(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute the share of kept pixels that are foreground, |P & G| / |P|: 0 worst, 1 best.

    Truth empty: 0. Mask or both empty: NaN.
    """
    mask, truth, _ = leave_out(mask, truth, void)
    n_mask, _, n_both = count(mask, truth)
    return ratio(n_both, n_mask)


def foreground_recall(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute the share of the foreground that is kept, |P & G| / |G|: 0 worst, 1 best.

    Mask empty: 0. Truth or both empty: NaN.
    """
    mask, truth, _ = leave_out(mask, truth, void)
    _, n_truth, n_both = count(mask, truth)
    return ratio(n_both, n_truth)


def background_leakage(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute the share of kept pixels that are background, 1 - precision: 0 best, 1 worst.

    Truth empty: 1. Mask or both empty: NaN.
    """
    mask, truth, _ = leave_out(mask, truth, void)
    n_mask, _, n_both = count(mask, truth)
    return ratio(n_mask - n_both, n_mask)


def mae(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute the mean absolute error, mean |P - G|; of bools, the share of wrong pixels: 0 best.

    Truth empty: the mask's share of the image. Mask empty: the truth's. Both: 0. All void: NaN.
    """
    mask, truth, n_known = leave_out(mask, truth, void)
    n_mask, n_truth, n_both = count(mask, truth)
    return ratio(n_mask + n_truth - 2 * n_both, n_known)


def boundary_iou(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute IoU of the inner boundary bands (Cheng et al., CVPR 2021): 0 worst, 1 best.

    A band is d = max(1, round(0.02 diagonal)) pixels wide, a half rounded to even as in their code;
    the edge of the image, or of what is void, counts as boundary. Not the min(mask IoU, boundary
    IoU) of their COCO scores.

    Truth or mask empty: 0. Both empty: NaN.
    """
    mask, truth, _ = leave_out(mask, truth, void)
    width = max(1, round(0.02 * math.hypot(*mask.shape)))
    return iou(_find_band(mask, width), _find_band(truth, width))


def _find_band(mask: BoolMask, width: int) -> BoolMask:
    """Return the mask minus its erosion by ``width`` steps of 3x3, with zeros around the image."""
    if not mask.any():
        return mask
    pixels = mask.astype(np.uint8)
    left, top, columns, rows = cv2.boundingRect(pixels)
    box = np.s_[top : top + rows, left : left + columns]
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)  # erodes as much as all the steps
    eroded = cv2.erode(pixels[box], square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    band = mask.copy()
    band[box] &= eroded == 0
    return band
