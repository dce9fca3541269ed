"""One tracked run: dataset and pipeline to rows, a summary and a page."""
