"""Datasets: folder, pairs, sample, COCO; reading, sampling, loading."""
