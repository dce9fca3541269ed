"""The script that one writes first: torchvision's Mask R-CNN, GrabCut, Pillow.

Every step as the tutorials of these libraries have it, with their defaults. It is what bgexp is
measured against, so it is kept fair: nothing in it is slower than its author would make it.
"""

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.transforms.functional import to_tensor


def load_model(**options):
    return maskrcnn_resnet50_fpn(weights="DEFAULT", **options).eval()


def remove_background(source, target, model, use_grabcut=True):
    """Write the cut-out; return its mask, the mask before GrabCut, and the boxes used."""
    image = Image.open(source).convert("RGB")
    boxes, coarse = find_objects(image, model)
    pixels = np.array(image)
    mask = grabcut(pixels, coarse) if use_grabcut else coarse
    result = np.zeros_like(pixels)
    result[mask] = pixels[mask]
    Image.fromarray(result).save(target)
    return mask, coarse, boxes


@torch.no_grad()
def find_objects(image, model):
    output = model([to_tensor(image)])[0]
    is_sure = output["scores"] > 0.5
    masks = output["masks"][is_sure, 0] > 0.5
    return output["boxes"][is_sure].numpy(), masks.any(dim=0).numpy()


def grabcut(pixels, mask):
    labels = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(pixels, labels, None, background, foreground, 5, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
