"""`python -m benchmarks.nightly`."""

from benchmarks.nightly.command_line import main

main()
