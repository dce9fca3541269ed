"""The way of one image: detect, combine, refine, cut out."""
