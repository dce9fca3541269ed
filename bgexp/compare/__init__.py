"""`bgexp compare`: earlier runs side by side on the same images."""

from bgexp.compare.command import compare_runs, write_comparison
from bgexp.compare.told import print_json, show_comparison

__all__ = ["compare_runs", "print_json", "show_comparison", "write_comparison"]
