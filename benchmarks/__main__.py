"""Starts the benchmarks: python -m benchmarks --help."""

import sys

if __name__ == "__main__":  # child processes import this module again
    from benchmarks.command_line import main

    sys.exit(main())
