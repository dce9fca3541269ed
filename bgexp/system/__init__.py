"""Processes, atomic files, listing, progress, provenance."""
