"""Check this installation, and say how to fix each problem: `moovitamix doctor`.

Exit code 0: no problems; 1: problems; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from cli.checks import Check, all_checks
from core.exit_codes import run_main
from core.terminal import prepare_terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every check and print the results."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m cli.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON document")
    as_json = parser.parse_args(arguments).json
    checks = list(all_checks())
    problems = [check for check in checks if check.status == "problem"]
    if as_json:
        print(json.dumps({"healthy": not problems, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _print(checks, len(problems))
    return 1 if problems else 0


def _print(checks: Sequence[Check], problems: int) -> None:
    for check in checks:
        print(f"{check.status:<8} {check.name}: {check.detail}")
        if check.fix:
            print(f"{'':<8} fix: {check.fix}")
    print(f"{problems} problem(s) found" if problems else "no problems found")


if __name__ == "__main__":
    sys.exit(run_main(main))
