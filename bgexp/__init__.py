"""bgexp finds out, by tracked experiments, which background-removal settings work best."""

__version__ = "0.1.0"
