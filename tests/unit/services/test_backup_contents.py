"""Allowed entries of a dump, and the steps of its restore."""

from __future__ import annotations

import pytest

from services.backup_contents import foreign_entries, restore_steps

LISTING = """;
; Archive created at 2026-11-22 03:00:00 UTC
;     Dumped from database version: 18.1
;
8; 2615 16390 SCHEMA - ml the owner
4001; 0 0 ACL - SCHEMA ml the owner
220; 1259 16400 TABLE ops schema_version the owner
231; 1259 16410 TABLE ml recommendations moovitamix_recommender
3502; 0 0 TABLE ATTACH ml recommendations_1 moovitamix_recommender
3510; 0 0 SEQUENCE OWNED BY ops runs_run_id_seq the owner
3520; 2604 16420 DEFAULT ops runs run_id the owner
240; 1259 16430 VIEW ml current_publication the owner
241; 1259 16431 MATERIALIZED VIEW mart of an operator the owner
3600; 0 16431 MATERIALIZED VIEW DATA mart of an operator the owner
3700; 2606 16500 FK CONSTRAINT ml publications publications_model_run_id_fkey the owner
"""


def test_migrated_objects_and_views_of_the_owner_are_allowed() -> None:
    assert foreign_entries(LISTING) == []


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("250; 1259 1 VIEW ml v moovitamix_recommender", "view ml v moovitamix_recommender"),
        ("250; 1259 1 MATERIALIZED VIEW ml v evil", "materialized view ml v evil"),
        ("300; 1255 1 FUNCTION ml f(text) the owner", "function ml f(text) the owner"),
        ("300; 1255 1 PROCEDURE ml TABLE ml x evil", "procedure ml TABLE ml x evil"),
        ("300; 2620 1 TRIGGER ml recommendations TABLE evil", "trigger ml recommendations TABLE evil"),
        ("300; 2618 1 RULE ml recommendations r evil", "rule ml recommendations r evil"),
        ("300; 3256 1 POLICY ml recommendations p evil", "policy ml recommendations p evil"),
        ("300; 1247 1 DOMAIN ml d evil", "domain ml d evil"),
        ("300; 2605 1 CAST - CAST (ml.t AS bigint) ", "cast - CAST (ml.t AS bigint)"),
        ("nonsense", "nonsense"),
    ],
)
def test_foreign_entry_is_named(entry: str, name: str) -> None:
    assert foreign_entries(f"{LISTING}{entry}\n") == [name]


def test_views_are_foreign_without_an_owner() -> None:
    listing = "\n".join(line for line in LISTING.splitlines() if "schema_version" not in line)
    assert len(foreign_entries(listing)) == 3


def entries(kind: str, number: int, name: str = "warehouse m") -> list[str]:
    return [f"{n}; 1 1 {kind} {name}_{n} the owner" for n in range(number)]


def test_steps_are_small_and_keep_the_order() -> None:
    tables, attached = entries("TABLE", 150), entries("TABLE ATTACH", 150)
    keys = [f"{n}; 1 1 FK CONSTRAINT warehouse m_{n} key the owner" for n in range(150)]
    of_parent = "900; 1 1 FK CONSTRAINT warehouse m key the owner"
    listing = [*tables, *attached, *keys[:75], of_parent, *keys[75:]]
    steps = [step.splitlines() for step in restore_steps("\n".join([";", *listing]))]

    assert [entry for step in steps for entry in step] == listing
    assert max(len(step) for step in steps) == 100
    assert max(sum("FK CONSTRAINT" in entry for entry in step) for step in steps) == 40
    assert [of_parent] in steps  # it locks every partition, so it is alone


def test_rights_come_last_and_statistics_are_omitted() -> None:
    listing = [
        "8; 2615 16390 SCHEMA - ml the owner",
        "4001; 0 0 ACL - SCHEMA ml the owner",
        "4002; 826 1 DEFAULT ACL ml DEFAULT PRIVILEGES FOR TABLES the owner",
        "231; 1259 16410 TABLE ml recommendations the owner",
        "5000; 0 0 STATISTICS DATA ml recommendations the owner",
    ]
    assert restore_steps("\n".join(listing)) == [
        "8; 2615 16390 SCHEMA - ml the owner\n231; 1259 16410 TABLE ml recommendations the owner",
        "\n".join(listing[1:3]),
    ]
