"""Compare two versions of the data contract: `moovitamix contract-changes OLD [--new NEW]`.

A change is breaking if a client that worked may fail. Exit code 0: no breaking change, or the major version is higher;
1: breaking changes without a higher major version; 2: wrong usage, or a file is no data contract.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.contract_file import read_contract
from cli.data_contract import FILE
from core.exit_codes import returns_exit_code, run_main
from core.terminal import prepare_terminal

# Clients write these, and read all others.
_WRITTEN = ("request", "topic")


@dataclass(frozen=True)
class ContractChange:
    """One difference between two contracts. `place` names the object and the field."""

    place: str
    what: str
    is_breaking: bool


def contract_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[ContractChange]:
    """Return the differences, in the order of the old contract, additions last."""
    old_objects, new_objects = _by_name(old.get("schema", ())), _by_name(new.get("schema", ()))
    changes = []
    for name, before in old_objects.items():
        if name not in new_objects:
            changes.append(ContractChange(name, "removed", True))
            continue
        changes += _changed_fields(name, before, new_objects[name], before.get("physicalType") in _WRITTEN)
        if _key(before) != _key(new_objects[name]):
            grain = f"one row per {_names(_key(before))}, now per {_names(_key(new_objects[name]))}"
            changes.append(ContractChange(name, grain, True))
    added = new_objects.keys() - old_objects.keys()
    return [*changes, *(ContractChange(name, "added", False) for name in sorted(added))]


def _changed_fields(
    place: str, old: Mapping[str, Any], new: Mapping[str, Any], is_written: bool
) -> Iterator[ContractChange]:
    old_fields, new_fields = _by_name(old.get("properties", ())), _by_name(new.get("properties", ()))
    for name, before in old_fields.items():
        field = f"{place}: {name}"
        if name not in new_fields:
            yield ContractChange(field, "removed", True)
        else:
            yield from _changed_value(field, before, new_fields[name], is_written)
    for name in new_fields.keys() - old_fields.keys():
        is_required = bool(new_fields[name].get("required"))
        yield ContractChange(
            f"{place}: {name}", "added, and required" if is_required else "added", is_written and is_required
        )


def _changed_value(
    field: str, old: Mapping[str, Any], new: Mapping[str, Any], is_written: bool
) -> Iterator[ContractChange]:
    for attribute in ("logicalType", "physicalType"):
        if old.get(attribute) != new.get(attribute):
            yield ContractChange(field, f"{attribute} {old.get(attribute)}, now {new.get(attribute)}", True)
    was_required, is_required = bool(old.get("required")), bool(new.get("required"))
    if was_required != is_required:
        what = "may be missing or null now" if was_required else "is required now"
        yield ContractChange(field, what, is_required if is_written else was_required)
    old_values, new_values = ({choice["value"] for choice in part.get("enum", ())} for part in (old, new))
    if old_values != new_values:
        # Breaking: a client sends a value that is refused now, or reads one that it does not know. Without an enum, any
        # value may be sent, and every value is known.
        sent, known = (old_values, new_values) if is_written else (new_values, old_values)
        is_breaking = bool(known) and not (sent and sent <= known)
        yield ContractChange(
            field, f"values {sorted(old_values, key=str)}, now {sorted(new_values, key=str)}", is_breaking
        )
    if "items" in old and "items" in new:
        yield from _changed_value(f"{field}[]", old["items"], new["items"], is_written)
    yield from _changed_fields(field, old, new, is_written)


def _by_name(elements: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(element["name"]): element for element in elements}


def _key(element: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(field["name"] for field in element.get("properties", ()) if field.get("primaryKey"))


def _names(key: frozenset[str]) -> str:
    return ", ".join(sorted(key)) or "no key"


def _major(contract: Mapping[str, Any]) -> int:
    major = str(contract.get("version", "")).partition(".")[0]
    return int(major) if major.isdecimal() else 0


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the differences, breaking changes first. Returns the exit code."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m cli.contract_changes", description=__doc__)
    parser.add_argument("old", type=Path, help="the contract before, such as that of the last release")
    parser.add_argument("--new", type=Path, help="the contract now (default: that of this folder)")
    options = parser.parse_args(arguments)
    old, new = read_contract(options.old), read_contract(options.new or FILE)
    changes = contract_changes(old, new)
    for change in sorted(changes, key=lambda change: not change.is_breaking):
        print(f"{'breaking' if change.is_breaking else 'compatible'}: {change.place}: {change.what}")
    breaking = sum(change.is_breaking for change in changes)
    is_announced = _major(new) > _major(old)
    print(f"version {old.get('version')} to {new.get('version')}: {breaking} breaking of {len(changes)} changes")
    if breaking and not is_announced:
        print("raise the major version (VERSION in cli/data_contract.py), and tell the clients", file=sys.stderr)
    return int(bool(breaking) and not is_announced)


if __name__ == "__main__":
    sys.exit(run_main(main))
