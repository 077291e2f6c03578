"""A snapshot in which a key is on two pages is not complete."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.extraction import _SnapshotRead


@pytest.mark.parametrize("key", [-(2**63), -17, -1, 0, 5, 2**63 - 1])
def test_a_key_on_two_pages_is_found(key: int) -> None:
    distinct = np.setdiff1d(np.arange(-50, 50), [key])
    pages = [distinct[:30], np.array([key]), distinct[30:]]
    assert not _SnapshotRead(keys=pages).has_key_on_two_pages()
    assert _SnapshotRead(keys=[*pages, np.array([7_000, key])]).has_key_on_two_pages()
