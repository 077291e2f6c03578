"""Measures speed and memory as ratios to a bare baseline that runs alongside: `python -m benchmarks --help`."""
