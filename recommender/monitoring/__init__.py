"""Measure the quality of published recommendations day by day, and detect drift."""
