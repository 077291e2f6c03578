"""The OpenAPI specification at /openapi.json, and a page at /docs that shows it without internet access."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from serving.field_errors import MAX_ID, MIN_ID
from serving.schemas import EXAMPLE_TRACK, EXAMPLE_USER, FieldError, ProblemDetails

# Swagger UI (Apache 2.0), version 5.35.0 of the package swagger-ui-dist, unchanged but for the links to source maps.
_FOLDER = Path(__file__).parent / "swagger_ui"
_MEDIA_TYPES = {
    "docs.html": "text/html",
    "docs.css": "text/css",
    "docs.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}
_REFERENCES = "#/components/schemas/{model}"
_ABOUT = """Recommendations for users, similar tracks, and feedback.

Send an API key with every request: `Authorization: Bearer <key>`, or `X-API-Key: <key>`.
Errors are problem details (RFC 9457). Distinguish them by `type`.
"""
_TAGS = {
    "read": "Recommendations and other lists of tracks.",
    "write": "What clients send back.",
    "health": "Whether the service works, and how well.",
}
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
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_openapi(app: FastAPI, public_url: str, local_url: str) -> None:
    """Add the OpenAPI specification, generated once, and the page that shows it.

    `public_url` is the address of the API for clients. If it is empty, the page sends requests to its own address, and
    the commands name `local_url`.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _specification(app, public_url, local_url)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def specification() -> Response:
        return Response(orjson.dumps(app.openapi()), media_type="application/json")

    @router.get("/docs")
    async def page() -> Response:
        return _page_file("docs.html")

    @router.get("/docs/{name}")
    async def page_file(name: str) -> Response:
        if name not in _MEDIA_TYPES:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return _page_file(name)

    app.include_router(router)


def _page_file(name: str) -> Response:
    return Response((_FOLDER / name).read_bytes(), headers=_PAGE_HEADERS, media_type=_MEDIA_TYPES[name])


def _specification(app: FastAPI, public_url: str, local_url: str) -> dict[str, Any]:
    url = public_url or local_url
    specification = get_openapi(
        title=app.title,
        version=app.version,
        description=_ABOUT,
        routes=app.routes,
        license_info={"name": "Proprietary", "identifier": "LicenseRef-Proprietary"},
    )
    components = specification.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    for model in (ProblemDetails, FieldError):
        schema = model.model_json_schema(ref_template=_REFERENCES)
        schema.pop("$defs", None)
        components["schemas"][model.__name__] = schema
    own_address = [] if public_url else [{"url": "/", "description": "The address of this page."}]
    specification["servers"] = [*own_address, {"url": url, "description": "This service."}]
    specification["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    for name, path in specification["paths"].items():
        for operation in path.values():
            _describe_conventions(operation)
            command = _command(url, name, operation, components["schemas"])
            operation["x-codeSamples"] = [{"lang": "Shell", "label": "curl", "source": command}]
            operation["description"] += f"\n\n```sh\n{command}\n```"
            if "x-scope" in operation:
                schemes = ["bearer", "header", *(["basic"] if "x-browser" in operation else [])]
                operation["security"] = [{name: []} for name in schemes]
            else:
                operation["security"] = []
    _write_bounds_as_integers(specification)
    return specification


def _write_bounds_as_integers(node: Any) -> None:
    """Correct the bounds of integers, in place: FastAPI writes floats, so the largest id is one too large."""
    if isinstance(node, dict) and node.get("type") == "integer":
        for name in {"minimum", "maximum"} & node.keys():
            node[name] = max(MIN_ID, min(MAX_ID, int(node[name])))
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _write_bounds_as_integers(child)


def _describe_conventions(operation: dict[str, Any]) -> None:
    """Document lists as comma-separated, and ETags where 304 is possible."""
    for parameter in operation.get("parameters", ()):
        if any(part.get("type") == "array" for part in (parameter["schema"], *parameter["schema"].get("anyOf", ()))):
            parameter |= {"style": "form", "explode": False}
    if "304" in operation["responses"]:
        tag = {"description": "Send it as If-None-Match.", "schema": {"type": "string"}}
        for status in ("200", "304"):
            operation["responses"][status]["headers"] = {"ETag": tag}
        operation["parameters"].append(
            {
                "name": "If-None-Match",
                "in": "header",
                "description": "ETags of earlier responses. 304 if the content has not changed since.",
                "schema": {"type": "string"},
            }
        )


def _command(url: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    """The command that sends the example of an operation. `$KEY` is an API key."""
    values = {"user_id": EXAMPLE_USER, "track_id": EXAMPLE_TRACK}
    parts = ["curl", *(['-H "Authorization: Bearer $KEY"'] if "x-scope" in operation else [])]
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        body = schemas[schema]["examples"][0]
        parts += ['-H "Content-Type: application/json"', f"-d '{orjson.dumps(body).decode()}'"]
    return " ".join([*parts, f'"{url}{path.format(**values)}"'])
