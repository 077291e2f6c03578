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
    sys.argv = [module, *command_line(positionals, options)]
    os.chdir(ROOT)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as system_exit:
        return system_exit.code if isinstance(system_exit.code, int) else int(system_exit.code is not None)
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


def command_line(positionals: Iterable[object], options: dict[str, object]) -> list[str]:
    """Format positional arguments and options for a command line. None is omitted.

    A subcommand must be before its options. An argument that starts with a dash must be after `--` and all options.
    """
    arguments = [str(value) for value in positionals if value is not None]
    if any(argument.startswith("-") for argument in arguments):
        return [*option_arguments(options), "--", *arguments]
    return [*arguments, *option_arguments(options)]
