"""Write `docs/data-contract.odcs.yaml`, an Open Data Contract of what we publish: `python -m cli.data_contract`.

The marts come from the comments in the database, the API from its OpenAPI document, the topic from the specification of
its endpoint. A test compares the file with them. `moovitamix contract-changes` finds breaking changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from core.atomic_files import write_atomically
from core.database import Connection, connect, readable_errors
from core.endpoints import ENDPOINTS, LISTEN_HISTORY, Field, Kind
from core.exit_codes import returns_exit_code, run_main
from core.queries import load_query
from core.roles import ensure_schema
from core.settings import Settings, load_settings
from core.terminal import prepare_terminal
from serving.app import create_app

FILE = Path(__file__).parent.parent / "docs" / "data-contract.odcs.yaml"
# Raise the first number for a breaking change, the second for an addition.
VERSION = "1.0.0"
Object = dict[str, Any]
_MART = "mart"
_PERSONAL = "(personal data)"
_POSTGRES_TYPES = {
    "bigint": "integer",
    "boolean": "boolean",
    "date": "date",
    "double precision": "number",
    "integer": "integer",
    "numeric": "number",
    "text": "string",
    "timestamp with time zone": "timestamp",
}
_FIELD_TYPES: dict[Kind, Object] = {
    "id": {"logicalType": "integer", "physicalType": "integer"},
    "id_list": {
        "logicalType": "array",
        "physicalType": "array or null",
        "items": {"logicalType": "integer", "physicalType": "integer or null"},
    },
    "text": {"logicalType": "string", "physicalType": "string"},
    "duration": {"logicalType": "string", "physicalType": "string MM:SS"},
    "time": {"logicalType": "timestamp", "physicalType": "ISO 8601 string"},
}


def data_contract(connection: Connection, specification: Mapping[str, Any]) -> Object:
    """Return the contract. `specification` is the OpenAPI document of the API. Raises DatabaseError."""
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "moovitamix-recommendations",
        "name": "MoovitaMix Recommendations",
        "version": VERSION,
        "status": "active",
        "domain": "music",
        "description": {
            "purpose": "Audited listening data, its marts for analysts, and recommendations for users.",
            "usage": "Read the marts with the role moovitamix_analyst, the API with a key. Send sessions to the topic.",
            "limitations": "Days are UTC. The marts have the state of the newest published batch.",
        },
        "servers": [
            {
                "server": "marts",
                "type": "postgres",
                "host": "127.0.0.1",
                "port": 5432,
                "database": "postgres",
                "schema": _MART,
            },
            {"server": "api", "type": "api", "location": f"http://127.0.0.1:{_default('serving_port')}"},
            {"server": "topic", "type": "kafka", "host": "127.0.0.1:9092", "format": "json"},
        ],
        "schema": [
            *_marts(connection),
            _topic(connection),
            *_operations(specification),
        ],
        "slaProperties": [
            {"property": "frequency", "value": 1, "unit": "d", "description": "The marts change nightly."}
        ],
    }


@readable_errors()
def _marts(connection: Connection) -> list[Object]:
    """Return the tables and views of the schema `mart`, with the comments of this database."""
    rows = connection.execute(load_query("ops/data_model.find_columns"), {"schema": _MART}).fetchall()
    objects = []
    for (relation, is_view, comment), columns in groupby(rows, key=lambda row: row[:3]):
        properties, keys = [], 0
        for *_, name, type_name, is_key, is_nullable, meaning in columns:
            column: Object = {"name": name, "logicalType": _POSTGRES_TYPES[type_name], "physicalType": type_name}
            if is_key:
                keys += 1
                column |= {"primaryKey": True, "primaryKeyPosition": keys}
            if not is_view and not is_nullable:
                column["required"] = True
            properties.append(column | _description(meaning))
        objects.append(
            {
                "name": f"{_MART}.{relation}",
                "physicalType": "view" if is_view else "table",
                **_description(comment),
                "properties": properties,
            }
        )
    return objects


@readable_errors()
def _topic(connection: Connection) -> Object:
    """Return the message of the topic: a row of its endpoint, with the comments on the table of streamed sessions."""
    rows = connection.execute(load_query("ops/data_model.find_columns"), {"schema": "stream"}).fetchall()
    meanings = {column: meaning for relation, *_, column, _, _, _, meaning in rows if relation == "sessions"}
    specification = ENDPOINTS[LISTEN_HISTORY]
    return {
        "name": _default("stream_topic"),
        "physicalType": "topic",
        "description": "One message per session: a row of /listen_history as JSON. Clients write it.",
        "properties": [
            _message_field(field, specification.key) | _description(meanings[field.name])
            for field in specification.fields
        ],
    }


def _message_field(field: Field, key: Sequence[str]) -> Object:
    content: Object = {"name": field.name, **_FIELD_TYPES[field.kind]}
    if field.name in key:
        content |= {"primaryKey": True, "primaryKeyPosition": key.index(field.name) + 1}
    return content | ({} if field.kind == "id_list" else {"required": True})


def _operations(specification: Mapping[str, Any]) -> Iterable[Object]:
    """Return the JSON request and response of each operation."""
    schemas = specification["components"]["schemas"]
    for path, operations in sorted(specification["paths"].items()):
        for method, operation in sorted(operations.items()):
            parts = {
                "request": operation.get("requestBody", {}).get("content", {}),
                "response": next(
                    (
                        answer.get("content", {})
                        for status, answer in operation["responses"].items()
                        if status[0] == "2"
                    ),
                    {},
                ),
            }
            for part, content in parts.items():
                schema = content.get("application/json", {}).get("schema", {})
                properties = _properties(schema, schemas)
                if properties:
                    yield {
                        "name": f"{method.upper()} {path} {part}",
                        "physicalType": part,
                        "description": operation["summary"],
                        "properties": properties,
                    }


def _properties(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Object]:
    """Return the fields of an object of the OpenAPI document."""
    resolved, _ = _resolve(schema, schemas)
    required = set(resolved.get("required", ()))
    properties = []
    for name, part in resolved.get("properties", {}).items():
        content, is_nullable = _resolve(part, schemas)
        field = {"name": name, **_value(content, schemas)}
        if name in required and not is_nullable:
            field["required"] = True
        properties.append(field | _description(part.get("description", "")))
    return properties


def _value(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Object:
    """Return the type of a value, with its fields or elements."""
    kind = schema.get("type", "object")
    if schema.get("format") in ("date-time", "date"):
        logical = {"date-time": "timestamp", "date": "date"}[schema["format"]]
        return {"logicalType": logical, "physicalType": f"string ({schema['format']})"}
    content: Object = {"logicalType": kind, "physicalType": kind}
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices:
        content["enum"] = [{"value": value} for value in choices]
    if kind == "array":
        element, _ = _resolve(schema.get("items", {}), schemas)
        content["items"] = _value(element, schemas)
    elif kind == "object" and (properties := _properties(schema, schemas)):
        content["properties"] = properties
    return content


def _resolve(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Follow a reference, and return the schema that is not null, and whether null is allowed."""
    if "$ref" in schema:
        return _resolve(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    options = schema.get("anyOf") or schema.get("oneOf") or ()
    schemas_without_null = [option for option in options if option.get("type") != "null"]
    if schemas_without_null:
        resolved, is_nullable = _resolve(schemas_without_null[0], schemas)
        return resolved, is_nullable or len(schemas_without_null) < len(options)
    return schema, False


def _description(text: str) -> Object:
    """Return the description, and the classification of personal data."""
    personal = {"classification": "personal"} if _PERSONAL in text else {}
    return personal | ({"description": " ".join(text.split())} if text else {})


def contract_text(contract: Object) -> str:
    """Return the file."""
    head = "# Generated by `python -m cli.data_contract`. Standard: Open Data Contract Standard (Bitol).\n"
    return head + yaml.safe_dump(contract, sort_keys=False, allow_unicode=True, width=120)


def _default(setting: str) -> Any:
    """Return the default of a setting: the contract is the same on every machine."""
    return Settings.model_fields[setting].default


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m cli.data_contract", description=__doc__).parse_args(arguments)
    settings = load_settings()
    with connect(ensure_schema(settings)) as connection:
        contract = data_contract(connection, create_app(settings, "postgresql://nowhere").openapi())
        write_atomically(FILE, contract_text(contract))
    print(f"{FILE} is written")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
