"""The OpenAPI specification at /openapi.json, and a page at /docs that shows it without internet access."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from serving.schemas import FieldError, ProblemDetails

_FOLDER = Path(__file__).parent
_REFERENCES = "#/components/schemas/{model}"
_ABOUT = """Recommendations for users, similar tracks, and feedback.

Send an API key with every request: `Authorization: Bearer <key>`, or `X-API-Key: <key>`.
Errors are problem details (RFC 9457). Distinguish them by `type`.
"""
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer mm_..."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "For browsers: any user name, and the API key as the password.",
    },
}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_openapi(app: FastAPI) -> None:
    """Add the OpenAPI specification, generated once, and the page that shows it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _specification(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def specification() -> Response:
        return Response(orjson.dumps(app.openapi()), media_type="application/json")

    @router.get("/docs")
    async def page() -> Response:
        return Response((_FOLDER / "docs.html").read_bytes(), headers=_PAGE_HEADERS, media_type="text/html")

    @router.get("/docs.js")
    async def script() -> Response:
        return Response((_FOLDER / "docs.js").read_bytes(), headers=_PAGE_HEADERS, media_type="text/javascript")

    app.include_router(router)


def _specification(app: FastAPI) -> dict[str, Any]:
    specification = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes)
    components = specification.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    for model in (ProblemDetails, FieldError):
        schema = model.model_json_schema(ref_template=_REFERENCES)
        schema.pop("$defs", None)
        components["schemas"][model.__name__] = schema
    for path in specification["paths"].values():
        for operation in path.values():
            if "x-scope" in operation:
                schemes = ["bearer", "header", *(["basic"] if "x-browser" in operation else [])]
                operation["security"] = [{name: []} for name in schemes]
    return specification
