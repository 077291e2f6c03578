"""/openapi.json is complete and matches the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from openapi_spec_validator import validate
from pydantic import ValidationError

from core.settings import Settings
from serving import problems
from serving.app import create_app
from serving.keys import SCOPES
from serving.schemas import Impression, SessionRequest

CONTRACT: dict[str, Any] = create_app(Settings(_env_file=None), "postgresql://nowhere").openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in CONTRACT["paths"].items()
    for method, operation in methods.items()
}
RECOMMENDATION_PARAMETERS = {
    parameter["name"]: parameter for parameter in OPERATIONS["GET /v1/users/{user_id}/recommendations"]["parameters"]
}
OPEN = {"GET /health", "GET /health/live", "GET /health/ready"}


def test_openapi_has_all_operations() -> None:
    assert set(OPERATIONS) == OPEN | {
        "GET /v1/users/{user_id}/recommendations",
        "GET /v1/tracks/{track_id}/similar",
        "POST /v1/recommendations",
        "POST /v1/feedback",
        "POST /v1/feedback/batch",
        "POST /v1/impressions",
        "GET /v1/popular",
        "GET /v1/new",
        "GET /v1/users/{user_id}/history",
        "GET /metrics",
        "GET /dashboard",
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_documents_security_and_errors(name: str) -> None:
    operation = OPERATIONS[name]
    statuses = {int(status) for status in operation["responses"]}
    assert {200, 500} <= statuses
    assert (operation["security"] == []) == (name in OPEN)
    if name not in OPEN:
        assert operation["x-scope"] in SCOPES
        assert f"\n\nNeeds the scope `{operation['x-scope']}`.\n\n" in operation["description"]
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


def test_specification_is_valid_openapi() -> None:
    validate(CONTRACT)
    assert [server["url"] for server in CONTRACT["servers"]] == ["/", "http://127.0.0.1:8080"]
    assert [tag["name"] for tag in CONTRACT["tags"]] == ["Read", "Write", "Health"]
    assert CONTRACT["info"]["license"] == {"name": "Proprietary"}  # without a link
    operation_ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(operation_ids)) == len(operation_ids)
    assert all(re.fullmatch("[a-z_]+", operation_id) for operation_id in operation_ids)


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
    user_id, limit = (RECOMMENDATION_PARAMETERS[name] for name in ("user_id", "limit"))
    assert (user_id["schema"]["minimum"], user_id["schema"]["maximum"]) == (-(2**63), 2**63 - 1)
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"], limit["schema"]["default"]) == (1, 50, 10)
    assert schemas["FeedbackRequest"]["additionalProperties"] is False


def test_page_shows_examples_limits_and_deprecation_of_parameters() -> None:
    for name, operation in OPERATIONS.items():
        for parameter in operation.get("parameters", ()):
            assert ("example" in parameter) == (parameter["in"] == "path"), name
            assert "anyOf" not in parameter["schema"], "a query has no null"
    assert RECOMMENDATION_PARAMETERS["n"]["deprecated"] is True
    assert "deprecated" not in RECOMMENDATION_PARAMETERS["limit"]
    assert "from 1 to 50" in RECOMMENDATION_PARAMETERS["limit"]["description"]
    exclude = RECOMMENDATION_PARAMETERS["exclude"]
    assert (exclude["style"], exclude["explode"]) == ("form", False)
    assert (exclude["schema"]["type"], exclude["schema"]["maxItems"]) == ("array", 10_000)
    assert exclude["schema"]["items"]["examples"] == [31]


def test_address_of_the_page_precedes_the_public_address() -> None:
    settings = Settings(_env_file=None, serving_public_url="https://music.example.org/api")  # type: ignore[call-arg]
    specification = create_app(settings, "postgresql://nowhere").openapi()
    assert [server["url"] for server in specification["servers"]] == ["/api/", "https://music.example.org/api"]


def test_every_problem_type_is_documented_with_its_next_step() -> None:
    defined = [value for value in vars(problems).values() if isinstance(value, problems.ProblemType)]
    assert list(problems.PROBLEM_TYPES) == defined
    for kind in problems.PROBLEM_TYPES:
        row = f"| {kind.status.value} | `{kind.name}` | {kind.title} | {kind.next_step} |"
        assert row in CONTRACT["info"]["description"].splitlines()


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_error_has_examples_of_its_own_status(name: str) -> None:
    titles = {kind.type: kind.title for kind in problems.PROBLEM_TYPES}
    for status, response in OPERATIONS[name]["responses"].items():
        content = response.get("content", {}).get("application/problem+json")
        if content is None:
            continue
        examples = [example["value"] for example in content["examples"].values()]
        assert examples
        for example in examples:
            assert (example["status"], example["title"]) == (int(status), titles[example["type"]])
            assert example["detail"]
            assert ("errors" in example) == (status == "422")
            part = "body" if name.startswith("POST") else "query"
            assert all(error["field"].startswith(f"{part}.") for error in example.get("errors", ()))


def test_description_says_what_a_page_must_know() -> None:
    guide = CONTRACT["info"]["description"]
    for text in (
        "Keys are for servers",
        "SERVING_CORS_ORIGINS",
        "`If-None-Match`",
        "262,144 bytes",
        "`GET /v1/popular`",
    ):
        assert text in guide
    batch = OPERATIONS["POST /v1/feedback/batch"]["description"]
    assert "`hide` is final" in batch
    for description in (batch, OPERATIONS["POST /v1/impressions"]["description"]):
        assert "A malformed item refuses the whole batch" in description


def test_ids_of_bodies_and_parameters_have_exact_bounds() -> None:
    schemas = CONTRACT["components"]["schemas"]
    items = schemas["SessionRequest"]["properties"]["tracks"]["items"]
    (parameter,) = (entry["schema"] for entry in OPERATIONS["GET /v1/tracks/{track_id}/similar"]["parameters"][:1])
    for schema in (schemas["Impression"]["properties"]["track_id"], items, parameter):
        assert (schema["minimum"], schema["maximum"]) == (-(2**63), 2**63 - 1)
        assert isinstance(schema["maximum"], int)
        assert not {"ge", "le"} & set(schema)


@pytest.mark.parametrize("number", ["171475", "171475.0", "1.71475e5"])
def test_integers_may_be_written_as_numbers_without_a_fraction(number: str) -> None:
    assert SessionRequest.model_validate_json(f'{{"tracks": [{number}]}}').tracks == [171_475]


@pytest.mark.parametrize("value", ["0.5", '"5"', "true", "1e300", "9007199254740993.0", "null"])
def test_other_values_are_no_integers(value: str) -> None:
    with pytest.raises(ValidationError):
        SessionRequest.model_validate_json(f'{{"tracks": [{value}]}}')


_IMPRESSION = {"user_id": 1, "publication_id": 1, "track_id": 1, "rank": 1}


def test_an_offset_that_postgres_does_not_accept_is_converted() -> None:
    impression = Impression.model_validate(_IMPRESSION | {"shown_at": "2026-01-02T03:59:00.5+19:59"})
    assert impression.shown_at == datetime(2026, 1, 1, 8, 0, 0, 500_000, tzinfo=UTC)
    assert impression.shown_at.utcoffset() == UTC.utcoffset(None)


@pytest.mark.parametrize(
    "value",
    [0, 0.5, True, "0", "2026-01-02", "2026-01-02T03:00:00", "0001-01-01T00:00:00+19:59", "2026-13-01T00:00:00Z"],
)
def test_other_values_are_no_times(value: object) -> None:
    with pytest.raises(ValidationError):
        Impression.model_validate(_IMPRESSION | {"shown_at": value})
