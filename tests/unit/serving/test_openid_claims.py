"""Where the groups of a person are in an ID token."""

from __future__ import annotations

from typing import Any

import pytest

from serving.console.openid import claim_at


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("groups", {"groups": ["found"]}),
        ("realm_access.roles", {"realm_access": {"roles": ["found"]}}),
        ("resource_access.app.roles", {"resource_access": {"app": {"roles": ["found"]}}}),
        # Names with dots: a claim with a namespace, a client of Keycloak.
        ("https://moovitamix.example/groups", {"https://moovitamix.example/groups": ["found"]}),
        ("resource_access.app.example.roles", {"resource_access": {"app.example": {"roles": ["found"]}}}),
        ("a.b", {"a.b": ["found"], "a": {"b": ["another"]}}),
        ("a.b.c", {"a.b": "text", "a": {"b": {"c": ["found"]}}}),
    ],
)
def test_path_finds_a_claim(path: str, claims: dict[str, Any]) -> None:
    assert claim_at(claims, path) == ["found"]


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"realm_access": None},
        {"realm_access": []},
        {"realm_access": "roles"},
        {"roles": ["x"]},
        {"realm_access": {}},
    ],
)
def test_path_without_a_claim_finds_nothing(claims: dict[str, Any]) -> None:
    assert claim_at(claims, "realm_access.roles") is None
