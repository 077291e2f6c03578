"""Run the module behind a command, as `python -m` does."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_module(module: str, *positionals: object, **options: object) -> int:
    """Run `python -m <module>` in this process, in the project's folder, and return its exit code.

    `day=X` becomes `--day=X`, and `refresh=True` becomes `--refresh`. A sequence repeats its option. None, False and
    empty sequences are omitted.
    """
    sys.argv = [module, *option_arguments(options), *positional_arguments(positionals)]
    os.chdir(ROOT)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def option_arguments(options: dict[str, object]) -> list[str]:
    """Format the options for a command line."""
    arguments: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif isinstance(value, list | tuple):
            arguments += [f"{option}={element}" for element in value]
        elif value is not None and value is not False:
            arguments.append(f"{option}={value}")
    return arguments


def positional_arguments(values: Iterable[object]) -> list[str]:
    """Format positional arguments for a command line. `--` precedes them if one starts with a dash."""
    arguments = [str(value) for value in values if value is not None]
    return ["--", *arguments] if any(argument.startswith("-") for argument in arguments) else arguments
