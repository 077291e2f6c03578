"""How fast and how big, as ratios against something bare that runs side by side: `python -m benchmarks --help`."""
