"""Read a data contract from a file, and check the parts that a comparison needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from core.errors import UsageError

_REMEDY = "correct the file, or restore it with git show TAG:docs/data-contract.odcs.yaml"
# PyYAML raises these for texts that do not fit their tag, such as the day 2026-99-99.
_WRONG_VALUES = (ValueError, LookupError, AttributeError, TypeError)


def read_contract(path: Path) -> Mapping[str, Any]:
    """Return the contract in a file. Raises UsageError, which names the wrong element."""
    try:
        contract = _parse(path)
        _check_elements(contract.get("schema"), "schema", "name")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply; {_REMEDY}") from None
    except _Malformed as error:
        raise UsageError(f"{path}: {error}; {_REMEDY}") from None
    return contract


class _Malformed(Exception):
    """An element of the contract is invalid. The message names the element and the error."""


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_bytes().decode())
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text; {_REMEDY}") from None
    except (yaml.YAMLError, *_WRONG_VALUES) as error:
        mark = getattr(error, "problem_mark", None)
        line = f": line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path} is not YAML{line}; {_REMEDY}") from None
    if not isinstance(content, dict) or content.get("kind") != "DataContract":
        raise UsageError(f"{path} is not a data contract: it lacks the line `kind: DataContract`; {_REMEDY}")
    return content


def _check_elements(elements: object, place: str, key: str) -> None:
    """Check that `elements` is a list of mappings, and that no two of them have the same value of `key`."""
    if not isinstance(elements, list):
        raise _Malformed(f"`{place}` must be a list")
    known: set[tuple[type, object]] = set()  # in Python, 1 equals True
    for number, element in enumerate(elements, start=1):
        where = f"element {number} of `{place}`"
        if not isinstance(element, dict):
            raise _Malformed(f"{where} must be a mapping")
        value = element.get(key)
        if key not in element or isinstance(value, list | dict | set) or (key == "name" and not isinstance(value, str)):
            raise _Malformed(f"{where} lacks `{key}`, or it is not {'a text' if key == 'name' else 'a single value'}")
        if (type(value), value) in known:
            raise _Malformed(f"{where} has the same {key} as another element, `{value}`")
        known.add((type(value), value))
        if key == "name":
            _check_field(element, f"{place}.{value}")


def _check_field(field: Mapping[str, Any], place: str) -> None:
    if "enum" in field:
        _check_elements(field["enum"], f"{place}.enum", "value")
    if "properties" in field:
        _check_elements(field["properties"], f"{place}.properties", "name")
    if "items" in field:
        if not isinstance(field["items"], dict):
            raise _Malformed(f"`{place}.items` must be a mapping")
        _check_field(field["items"], f"{place}.items")
