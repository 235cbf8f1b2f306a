"""The report of a sweep: its results, plots and page."""
