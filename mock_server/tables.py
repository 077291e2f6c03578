"""Immutable tables: dataclasses with one array per column. Every change returns a new table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mock_server.randomness import Integers

Table = TypeVar("Table")


def appended(table: Table, added: Table) -> Table:
    """The rows of both tables."""
    return type(table)(**{name: np.concatenate([column, getattr(added, name)]) for name, column in vars(table).items()})


def filtered(table: Table, mask: NDArray[np.bool_]) -> Table:
    """The rows where `mask` is true."""
    return type(table)(**{name: column[mask] for name, column in vars(table).items()})


def changed(table: Table, rows: Integers, **values: NDArray[Any]) -> Table:
    """The table with new values in these rows and columns."""
    columns = {name: getattr(table, name).copy() for name in values}
    for name, column in columns.items():
        column[rows] = values[name]
    return replace(table, **columns)  # type: ignore[type-var]
