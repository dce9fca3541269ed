"""Pages to read in a browser: `report.html` of a run and of a sweep."""
