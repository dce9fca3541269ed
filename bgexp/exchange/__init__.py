"""Masks as annotations of labelling tools: COCO, PNG, Label Studio, CVAT."""
