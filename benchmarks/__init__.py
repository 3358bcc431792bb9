"""What the pair costs, as ratios to named peers measured in the same run; see `python -m benchmarks --help`."""
