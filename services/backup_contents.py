"""Reads the table of contents of a dump: checks for foreign entries, and splits the restore into steps.

A restore makes the owner of the schema the owner of everything in the dump. Code that a role attached to its tables
would then run with the owner's rights, so a dump with entries that no migration creates is refused.
"""

from __future__ import annotations

import re

# Tables and their parts. Not functions, triggers, rules, policies, types, operators or foreign tables.
_ALLOWED = (
    "ACL|CHECK CONSTRAINT|COMMENT|CONSTRAINT|DEFAULT|DEFAULT ACL|FK CONSTRAINT|INDEX|INDEX ATTACH|SCHEMA|SEQUENCE"
    "|SEQUENCE OWNED BY|SEQUENCE SET|STATISTICS DATA|TABLE|TABLE ATTACH|TABLE DATA"
)
_ALLOWED_TO_OWNER = "VIEW|MATERIALIZED VIEW|MATERIALIZED VIEW DATA"
# Number of the entry, two numbers of Postgres, kind, schema or `-`, then name and owner.
_ENTRY = re.compile(rf"\d+; \d+ \d+ (?:(?P<table>{_ALLOWED})|(?P<view>{_ALLOWED_TO_OWNER})) (?:\w+|-) .*")
_OWNER = re.compile(r"^\d+; \d+ \d+ TABLE ops schema_version (.*)$", re.M)


# A step takes a few hundred of the thousands of locks of a server. A table takes four. A foreign key locks two tables
# with their indexes; one of a partitioned table locks all partitions.
_LOCKS_OF_STEP, _LOCKS_OF_ENTRY, _LOCKS_OF_FOREIGN_KEY = 400, 4, 10
_RIGHTS = re.compile(r"\d+; \d+ \d+ (?:DEFAULT )?ACL ")
_STATISTICS = re.compile(r"\d+; \d+ \d+ STATISTICS DATA ")
_FOREIGN_KEY = re.compile(r"\d+; \d+ \d+ FK CONSTRAINT (\S+ \S+) ")
_PARTITION = re.compile(r"\d+; \d+ \d+ TABLE ATTACH (\S+ \S+) ")


def restore_steps(listing: str) -> list[str]:
    """Split the entries of `pg_restore --list` into lists for `--use-list`, one for each transaction.

    Rights come last, so that nobody else can reach the tables during the restore. Statistics are omitted, because
    restored tables are analyzed.
    """
    entries = [entry for entry in _entries(listing) if not _STATISTICS.match(entry)]
    partitions = {match[1] for entry in entries if (match := _PARTITION.match(entry))}
    steps: list[list[str]] = []
    locks_of_step, last_kind = 0, ""
    for entry in sorted(entries, key=lambda entry: bool(_RIGHTS.match(entry))):
        key = _FOREIGN_KEY.match(entry)
        locks = _LOCKS_OF_ENTRY if key is None else _LOCKS_OF_FOREIGN_KEY if key[1] in partitions else _LOCKS_OF_STEP
        kind = "rights" if _RIGHTS.match(entry) else "tables"
        if kind != last_kind or locks_of_step + locks > _LOCKS_OF_STEP:
            steps.append([])
            locks_of_step, last_kind = 0, kind
        steps[-1].append(entry)
        locks_of_step += locks
    return ["\n".join(step) for step in steps]


def foreign_entries(listing: str) -> list[str]:
    """Return the entries of `pg_restore --list` that are neither parts of tables nor views of the schema's owner."""
    owner_entry = _OWNER.search(listing)
    owner = owner_entry[1] if owner_entry else ""
    return [_readable(entry) for entry in _entries(listing) if not _is_allowed(entry, owner)]


def _entries(listing: str) -> list[str]:
    return [line for line in listing.splitlines() if line and not line.startswith(";")]


def _is_allowed(entry: str, owner: str) -> bool:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        return False
    return match["view"] is None or bool(owner and entry.endswith(f" {owner}"))


def _readable(entry: str) -> str:
    """Return kind, schema, name and owner of an entry, such as `view ml v somebody`."""
    text = re.sub(r"^\d+; \d+ \d+ ", "", entry).strip()
    kind = re.match(r"[A-Z ]+(?= )", text)
    return f"{kind[0].lower()}{text[kind.end() :]}" if kind else text
