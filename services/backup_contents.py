"""What a dump holds, by its own table of contents: what it may hold, and the steps to restore it in.

A restore makes all of it the owner's: then whatever a role hung
on its tables would run with the owner's rights, so anything that no migration made is refused by name.
"""

from __future__ import annotations

import re

# Tables and what belongs to them; no functions, triggers, rules, policies, types, operators or foreign tables.
_OURS = (
    "ACL|CHECK CONSTRAINT|COMMENT|CONSTRAINT|DEFAULT|DEFAULT ACL|FK CONSTRAINT|INDEX|INDEX ATTACH|SCHEMA|SEQUENCE"
    "|SEQUENCE OWNED BY|SEQUENCE SET|STATISTICS DATA|TABLE|TABLE ATTACH|TABLE DATA"
)
_OF_THE_OWNER = "VIEW|MATERIALIZED VIEW|MATERIALIZED VIEW DATA"
# The entry's number and that of its kind, what it is, its schema or `-`, its name with what belongs to it.
_ENTRY = re.compile(rf"\d+; \d+ \d+ (?:(?P<table>{_OURS})|(?P<view>{_OF_THE_OWNER})) (?:\w+|-) .*")
_OWNER = re.compile(r"^\d+; \d+ \d+ TABLE ops schema_version (.*)$", re.M)


# So that a step takes a few hundred locks, of the thousands that a server has room for: a table takes four, and a
# foreign key is checked against two tables with their indexes. That of a parent is checked against all partitions.
_LOCKS_OF_STEP, _LOCKS_OF_ENTRY, _LOCKS_OF_FOREIGN_KEY = 400, 4, 10
_RIGHTS = re.compile(r"\d+; \d+ \d+ (?:DEFAULT )?ACL ")
_STATISTICS = re.compile(r"\d+; \d+ \d+ STATISTICS DATA ")
_FOREIGN_KEY = re.compile(r"\d+; \d+ \d+ FK CONSTRAINT (\S+ \S+) ")
_PARTITION = re.compile(r"\d+; \d+ \d+ TABLE ATTACH (\S+ \S+) ")


def steps(listing: str) -> list[str]:
    """The entries of `pg_restore --list`, in lists for `--use-list` that fit one transaction each.

    Rights come last: until then nobody else can reach what is being restored. Statistics are left out, as restored
    tables are analyzed.
    """
    entries = [entry for entry in _entries(listing) if not _STATISTICS.match(entry)]
    partitions = {match[1] for entry in entries if (match := _PARTITION.match(entry))}
    found: list[list[str]] = []
    filled, last = 0, ""
    for entry in sorted(entries, key=lambda entry: bool(_RIGHTS.match(entry))):
        key = _FOREIGN_KEY.match(entry)
        locks = _LOCKS_OF_ENTRY if key is None else _LOCKS_OF_FOREIGN_KEY if key[1] in partitions else _LOCKS_OF_STEP
        kind = "rights" if _RIGHTS.match(entry) else "others"
        if kind != last or filled + locks > _LOCKS_OF_STEP:
            found.append([])
            filled, last = 0, kind
        found[-1].append(entry)
        filled += locks
    return ["\n".join(step) for step in found]


def foreign_entries(listing: str) -> list[str]:
    """What `pg_restore --list` tells of that is no table of ours, nor a view of the owner of the schema's version."""
    found = _OWNER.search(listing)
    owner = found[1] if found else ""
    return [_readable(entry) for entry in _entries(listing) if not _may_be(entry, owner)]


def _entries(listing: str) -> list[str]:
    return [line for line in listing.splitlines() if line and not line.startswith(";")]


def _may_be(entry: str, owner: str) -> bool:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        return False
    return match["view"] is None or bool(owner and entry.endswith(f" {owner}"))


def _readable(entry: str) -> str:
    """Such as `view ml v somebody`: what it is, its schema, its name, whose it is."""
    what = re.sub(r"^\d+; \d+ \d+ ", "", entry).strip()
    kind = re.match(r"[A-Z ]+(?= )", what)
    return f"{kind[0].lower()}{what[kind.end() :]}" if kind else what
