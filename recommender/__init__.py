"""Recommendations. Imports go one way: data, models, evaluation, then publishing or monitoring."""
