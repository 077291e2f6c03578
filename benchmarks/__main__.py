"""Starts the benchmarks: python -m benchmarks --help."""

if __name__ == "__main__":  # child processes import this module again
    from benchmarks.command_line import main

    raise SystemExit(main())
