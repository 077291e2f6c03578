"""`python -m benchmarks.monitoring`."""

from benchmarks.monitoring.command_line import main

raise SystemExit(main())
