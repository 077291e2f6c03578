"""Tables as dataclasses of columns, one array each; a change makes a new table and leaves the old one as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mock_server.randomness import Integers

Table = TypeVar("Table")


def appended(table: Table, more: Table) -> Table:
    """The rows of both, the new ones at the end."""
    return type(table)(**{name: np.concatenate([column, getattr(more, name)]) for name, column in vars(table).items()})


def filtered(table: Table, mask: NDArray[np.bool_]) -> Table:
    """Only the marked rows, in the same order."""
    return type(table)(**{name: column[mask] for name, column in vars(table).items()})


def changed(table: Table, rows: Integers, **values: NDArray[Any]) -> Table:
    """The same rows, some of them with other values in the given columns."""
    columns = {name: getattr(table, name).copy() for name in values}
    for name, column in columns.items():
        column[rows] = values[name]
    return replace(table, **columns)  # type: ignore[type-var]
