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


def test_values_of_different_types_differ(tmp_path: Path) -> None:
    contract = OLD | changed("mart.days/kind", enum=[{"value": 1}, {"value": True}])
    assert run(tmp_path, contract, contract) == 0


def test_other_file_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {"kind": "Deployment"}, OLD) == 2
    assert "is not a data contract" in capsys.readouterr().err
    assert main([str(tmp_path / "missing.yaml")]) == 2


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        ({"schema": None}, "`schema` must be a list"),
        ({"schema": {"mart.days": {}}}, "`schema` must be a list"),
        ({"schema": ["mart.days"]}, "element 1 of `schema` must be a mapping"),
        ({"schema": [*OLD["schema"], {"properties": []}]}, "element 3 of `schema` lacks `name`"),
        ({"schema": [{"name": "a"}, {"name": "a"}]}, "element 2 of `schema` has the same name as another element, `a`"),
        ({"schema": [{"name": ["a"]}]}, "element 1 of `schema` lacks `name`"),
        ({"schema": [{"name": "a", "properties": "b"}]}, "`schema.a.properties` must be a list"),
        ({"schema": [{"name": "a", "properties": [{"type": 1}]}]}, "element 1 of `schema.a.properties` lacks `name`"),
        (changed("mart.days/day", items=3), "`schema.mart.days.properties.day.items` must be a mapping"),
        (changed("mart.days/kind", enum="a"), "`schema.mart.days.properties.kind.enum` must be a list"),
        (
            changed("mart.days/kind", enum=["a"]),
            "element 1 of `schema.mart.days.properties.kind.enum` must be a mapping",
        ),
        (
            changed("mart.days/kind", enum=[{"value": []}]),
            "element 1 of `schema.mart.days.properties.kind.enum` lacks `value`",
        ),
        (
            changed("mart.days/kind", enum=[{"value": {"a", "b"}}]),
            "element 1 of `schema.mart.days.properties.kind.enum` lacks `value`",
        ),
        (
            changed("mart.days/tracks", items={"properties": [{}]}),
            "element 1 of `schema.mart.days.properties.tracks.items.properties` lacks `name`",
        ),
    ],
)
def test_malformed_contract_is_a_usage_error_that_names_the_element(
    new: dict[str, Any], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, OLD, OLD | new) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'new.yaml'}: {problem}")
    assert line.endswith("correct the file, or restore it with git show TAG:docs/data-contract.odcs.yaml")
    assert run(tmp_path, OLD | new, OLD) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x00\xff\xfe", "is not UTF-8 text"),
        (b"kind: DataContract\x00", "is not YAML"),
        (b"kind: [DataContract\nschema: 3", "is not YAML: line 2"),
        (b"kind: DataContract\nversion: 2026-99-99", "is not YAML"),
        (b"kind: !!bool maybe", "is not YAML"),
        (b"kind: !!timestamp maybe", "is not YAML"),
        (b"kind: !!python/object:os.system {}", "is not YAML: line 1"),
        (b"? {a: b}\n: c", "is not YAML: line 1"),
        (b"[" * 10_000, "is nested too deeply"),
        (b"kind: DataContract\nschema: &loop\n- name: a\n  properties: *loop", "is nested too deeply"),
        (b"- kind: DataContract", "is not a data contract"),
        (b"", "is not a data contract"),
        (b"kind: DataContract", "`schema` must be a list"),
    ],
)
def test_file_without_a_contract_is_a_usage_error(
    content: bytes, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.yaml"
    file.write_bytes(content)
    assert main([str(file)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}")
    assert problem in line


def test_folder_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "cannot be read: Is a directory" in capsys.readouterr().err
