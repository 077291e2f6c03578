"""What /openapi.json says beyond what FastAPI finds by itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.contract import FieldError, ProblemDetails

_REFERENCES = "#/components/schemas/{model}"
_ABOUT = """What listeners may like, similar tracks, and a place for feedback.

Send an API key with every request: `Authorization: Bearer <key>`, or `X-API-Key: <key>`.
Errors are problem details (RFC 9457): tell them apart by `type`.
"""
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer mm_..."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def describe(app: FastAPI) -> None:
    """Give the app its OpenAPI page, made once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _page(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _page(app: FastAPI) -> dict[str, Any]:
    page = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes)
    components = page.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    for model in (ProblemDetails, FieldError):
        schema = model.model_json_schema(ref_template=_REFERENCES)
        schema.pop("$defs", None)
        components["schemas"][model.__name__] = schema
    for path in page["paths"].values():
        for operation in path.values():
            if "401" in operation["responses"]:
                operation["security"] = [{"bearer": []}, {"header": []}]
    return page
