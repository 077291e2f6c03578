"""Wrapped rows: pages of any size contain the same rows."""

from typing import Any

import pytest

from mock_server.endpoint_rows import EndpointRows, RowsWithInsertion, RowsWithoutFirst, TruncatedRows


class Numbers:
    """The numbers from 0 to total - 1."""

    def __init__(self, total: int) -> None:
        self.total = total

    def rows(self, start: int, stop: int) -> list[Any]:
        return list(range(self.total))[start:stop]


@pytest.mark.parametrize(
    ("endpoint_rows", "rows"),
    [
        (RowsWithInsertion(Numbers(5), 0, ["a", "b"]), ["a", "b", 0, 1, 2, 3, 4]),
        (RowsWithInsertion(Numbers(5), 3, ["a", "b"]), [0, 1, 2, "a", "b", 3, 4]),
        (RowsWithInsertion(Numbers(5), 99, ["a"]), [0, 1, 2, 3, 4, "a"]),
        (RowsWithInsertion(Numbers(5), 2, []), [0, 1, 2, 3, 4]),
        (RowsWithoutFirst(Numbers(5), 2), [2, 3, 4]),
        (RowsWithoutFirst(Numbers(5), 9), []),
        (TruncatedRows(Numbers(5), 2), [0, 1]),
        (TruncatedRows(RowsWithInsertion(RowsWithoutFirst(Numbers(5), 1), 0, ["a"]), 3), ["a", 1, 2]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_pages_of_any_size_contain_all_rows(endpoint_rows: EndpointRows, rows: list[Any], size: int) -> None:
    assert endpoint_rows.total == len(rows)
    pages = [endpoint_rows.rows(start, start + size) for start in range(0, len(rows) + size, size)]
    assert [row for page in pages for row in page] == rows
