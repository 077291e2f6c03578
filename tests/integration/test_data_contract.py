"""The data contract says what the database and the API are, in the form of its standard."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
import yaml
from jsonschema import Draft201909Validator

from cli.data_contract import FILE, contract_text, data_contract
from core.database import connect
from core.settings import Settings
from serving.app import create_app

CONTRACT: dict[str, Any] = yaml.safe_load(FILE.read_text())
OBJECTS = {content["name"]: content for content in CONTRACT["schema"]}


def test_contract_says_what_database_and_api_are(database: str) -> None:
    """Run `python -m cli.data_contract` after a change."""
    specification = create_app(Settings(_env_file=None), "postgresql://nowhere").openapi()  # type: ignore[call-arg]
    with connect(database) as connection:
        assert FILE.read_text() == contract_text(data_contract(connection, specification))


def test_contract_is_valid_in_its_standard() -> None:
    schema = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text())
    errors = [f"{error.json_path}: {error.message}" for error in Draft201909Validator(schema).iter_errors(CONTRACT)]
    assert errors == []


def test_contract_classifies_personal_data_and_describes_every_column() -> None:
    marts = {name: content for name, content in OBJECTS.items() if name.startswith("mart.")}
    personal = {
        (name, column["name"])
        for name, content in marts.items()
        for column in content["properties"]
        if column.get("classification") == "personal"
    }
    assert ("mart.user_days", "user_id") in personal
    assert ("mart.daily_activity", "users") not in personal
    assert all(column["description"] for content in marts.values() for column in content["properties"])


def test_topic_has_the_fields_of_its_endpoint() -> None:
    fields = {field["name"]: field for field in OBJECTS["moovitamix.listens"]["properties"]}
    assert list(fields) == ["user_id", "created_at", "updated_at", "items"]
    assert fields["items"]["items"]["logicalType"] == "integer"
    assert "required" not in fields["items"]


@pytest.mark.parametrize("name", ["POST /v1/feedback request", "GET /v1/users/{user_id}/recommendations response"])
def test_api_has_its_fields(name: str) -> None:
    assert OBJECTS[name]["properties"]
