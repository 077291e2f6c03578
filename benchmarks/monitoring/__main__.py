"""`python -m benchmarks.monitoring`."""

import sys

from benchmarks.monitoring.command_line import main

if __name__ == "__main__":
    sys.exit(main())
