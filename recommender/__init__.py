"""Recommendations. Sub-packages import one way: data, models, evaluation, publishing or monitoring."""
