"""Entry point of the console script `moovitamix`, and of `python -m cli`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from cli.commands import app
from core.exit_codes import WRONG_USAGE, returns_exit_code


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1, 2 for wrong usage or settings, 130 after Ctrl-C."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = app(tokens, result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(f"error: {' '.join(str(error).split())} (moovitamix {_command(tokens)}--help)", file=sys.stderr)
        return WRONG_USAGE
    return result if isinstance(result, int) else 0


def _command(tokens: Sequence[str]) -> str:
    """The command whose help explains the error, followed by a space; empty for the tool itself."""
    names, _, _ = app.parse_commands(list(tokens))
    return "".join(f"{name} " for name in names)


if __name__ == "__main__":
    sys.exit(main())
