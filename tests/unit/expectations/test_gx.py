"""Great Expectations is imported without the modules that no suite here uses."""

from __future__ import annotations

import sys

import pytest

from expectations.gx import _loading_on_use


def test_a_module_is_loaded_when_something_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with _loading_on_use("colorsys"):
        import colorsys
    assert "colorsys" not in sys.modules
    assert colorsys.rgb_to_hsv(1, 1, 1) == (0.0, 0.0, 1)
    assert colorsys is not sys.modules["colorsys"]


def test_a_module_that_is_loaded_already_stays() -> None:
    import json

    with _loading_on_use("json"):
        assert sys.modules["json"] is json
    assert sys.modules["json"] is json
