"""Entry point of the console script `moovitamix`, and of `python -m cli`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from cli.commands import app
from core.exit_codes import WRONG_USAGE, returns_exit_code


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. `core.exit_codes` lists the codes."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = app(tokens, result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(f"error: {' '.join(str(error).split())} (moovitamix {_command_prefix(tokens)}--help)", file=sys.stderr)
        return WRONG_USAGE
    return result if isinstance(result, int) else 0


def _command_prefix(tokens: Sequence[str]) -> str:
    """Return the command names among the arguments, each followed by a space. Empty if there are none."""
    names, _, _ = app.parse_commands(list(tokens))
    return "".join(f"{name} " for name in names)


if __name__ == "__main__":
    sys.exit(main())
