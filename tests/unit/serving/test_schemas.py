"""/openapi.json is complete and matches the code."""

from __future__ import annotations

from typing import Any

import pytest

from core.settings import Settings
from serving.app import create_app
from serving.keys import SCOPES

CONTRACT: dict[str, Any] = create_app(Settings(_env_file=None), "postgresql://nowhere").openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in CONTRACT["paths"].items()
    for method, operation in methods.items()
}
OPEN = {"GET /health", "GET /health/live", "GET /health/ready"}


def test_openapi_has_all_operations() -> None:
    assert set(OPERATIONS) == OPEN | {
        "GET /v1/users/{user_id}/recommendations",
        "GET /v1/tracks/{track_id}/similar",
        "POST /v1/feedback",
        "GET /metrics",
        "GET /dashboard",
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_documents_security_and_errors(name: str) -> None:
    operation = OPERATIONS[name]
    statuses = {int(status) for status in operation["responses"]}
    assert {200, 500} <= statuses
    assert ("security" in operation) == (name not in OPEN)
    if name not in OPEN:
        assert operation["x-scope"] in SCOPES
        assert {401, 403, 429, 503} <= statuses
        basic = [{"basic": []}] if name == "GET /dashboard" else []
        assert operation["security"] == [{"bearer": []}, {"header": []}, *basic]
    if "/v1/" in name:
        assert 422 in statuses
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            page = (name, status) == ("GET /dashboard", "503")
            assert list(response["content"]) == ["text/html" if page else "application/problem+json"]
            assert response["description"]
    assert operation["summary"]
    assert operation["description"]


def test_schema_references_exist() -> None:
    def references(part: Any) -> set[str]:
        if isinstance(part, dict):
            references_here = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return references_here.union(*map(references, part.values()))
        return set().union(*map(references, part)) if isinstance(part, list) else set()

    existing = {f"#/components/schemas/{name}" for name in CONTRACT["components"]["schemas"]}
    assert references(CONTRACT) <= existing
    assert "HTTPValidationError" not in CONTRACT["components"]["schemas"]


def test_schemas_have_examples_and_64_bit_ids() -> None:
    schemas = CONTRACT["components"]["schemas"]
    for name in ("Recommendations", "SimilarTracks", "FeedbackRequest", "ProblemDetails"):
        assert schemas[name]["examples"]
    (user_id, n) = OPERATIONS["GET /v1/users/{user_id}/recommendations"]["parameters"]
    assert (user_id["schema"]["minimum"], user_id["schema"]["maximum"]) == (-(2**63), 2**63 - 1)
    assert (n["schema"]["minimum"], n["schema"]["maximum"], n["schema"]["default"]) == (1, 50, 10)
    assert schemas["FeedbackRequest"]["additionalProperties"] is False
