"""Which differences between two data contracts break clients."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.contract_changes import contract_changes, main

OLD: dict[str, Any] = {
    "kind": "DataContract",
    "version": "1.2.0",
    "schema": [
        {
            "name": "mart.days",
            "physicalType": "table",
            "properties": [
                {"name": "day", "logicalType": "date", "primaryKey": True, "required": True},
                {"name": "kind", "logicalType": "string", "enum": [{"value": "a"}, {"value": "b"}]},
                {"name": "tracks", "logicalType": "array", "items": {"logicalType": "integer"}},
            ],
        },
        {
            "name": "listens",
            "physicalType": "topic",
            "properties": [
                {"name": "user_id", "logicalType": "integer", "required": True},
                {"name": "kind", "logicalType": "string", "enum": [{"value": "a"}, {"value": "b"}]},
            ],
        },
    ],
}


def changed(place: str, **attributes: Any) -> dict[str, Any]:
    """OLD with other attributes of a field, such as `mart.days/day`. None removes an attribute."""
    new = deepcopy(OLD)
    object_name, field_name = place.split("/")
    [content] = [content for content in new["schema"] if content["name"] == object_name]
    [field] = [field for field in content["properties"] if field["name"] == field_name]
    field |= attributes
    for name in [name for name, value in field.items() if value is None]:
        del field[name]
    return new


def without(place: str) -> dict[str, Any]:
    new = deepcopy(OLD)
    object_name, _, field_name = place.partition("/")
    if not field_name:
        new["schema"] = [content for content in new["schema"] if content["name"] != object_name]
    for content in new["schema"]:
        if content["name"] == object_name:
            content["properties"] = [field for field in content["properties"] if field["name"] != field_name]
    return new


def extended(object_name: str, **field: Any) -> dict[str, Any]:
    new = deepcopy(OLD)
    [content] = [content for content in new["schema"] if content["name"] == object_name]
    content["properties"].append({"name": "added", "logicalType": "string", **field})
    return new


A_ONLY = [{"value": "a"}]
A_B_C = [{"value": "a"}, {"value": "b"}, {"value": "c"}]


@pytest.mark.parametrize(
    ("new", "is_breaking"),
    [
        (without("mart.days"), True),
        (without("mart.days/kind"), True),
        (changed("mart.days/day", logicalType="timestamp"), True),
        (changed("mart.days/tracks", items={"logicalType": "string"}), True),
        (changed("mart.days/day", required=None), True),
        (changed("mart.days/kind", required=True), False),
        (changed("mart.days/kind", primaryKey=True), True),
        (changed("mart.days/kind", enum=A_ONLY), False),
        (changed("mart.days/kind", enum=A_B_C), True),
        (changed("mart.days/kind", enum=None), True),
        (changed("mart.days/day", enum=A_ONLY), False),
        (extended("mart.days", required=True), False),
        (without("listens/kind"), True),
        (changed("listens/user_id", required=None), False),
        (changed("listens/kind", required=True), True),
        (changed("listens/kind", enum=A_ONLY), True),
        (changed("listens/kind", enum=A_B_C), False),
        (changed("listens/kind", enum=None), False),
        (changed("listens/user_id", enum=A_ONLY), True),
        (extended("listens"), False),
        (extended("listens", required=True), True),
        (changed("mart.days/day", description="a better sentence"), None),
    ],
)
def test_change_breaks_clients_or_not(new: dict[str, Any], is_breaking: bool | None) -> None:
    assert [change.is_breaking for change in contract_changes(OLD, new)] == (
        [] if is_breaking is None else [is_breaking]
    )


def test_new_object_is_compatible() -> None:
    [change] = contract_changes(without("listens"), OLD)
    assert (change.place, change.what, change.is_breaking) == ("listens", "added", False)


def run(folder: Path, old: object, new: object) -> int:
    for name, content in (("old", old), ("new", new)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return main([str(folder / "old.yaml"), "--new", str(folder / "new.yaml")])


def test_command_fails_unless_the_major_version_is_higher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = without("mart.days/kind")
    assert run(tmp_path, OLD, new) == 1
    output = capsys.readouterr().out.splitlines()
    assert output == ["breaking: mart.days: kind: removed", "version 1.2.0 to 1.2.0: 1 breaking of 1 changes"]
    assert run(tmp_path, OLD, new | {"version": "2.0.0"}) == 0
    assert run(tmp_path, OLD, extended("mart.days")) == 0


def test_other_file_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {"kind": "Deployment"}, OLD) == 2
    assert "is no data contract" in capsys.readouterr().err
    assert main([str(tmp_path / "missing.yaml")]) == 2
