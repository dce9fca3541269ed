"""Scores of a mask against the truth, checks without a truth, and their statistics."""
