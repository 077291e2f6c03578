"""The OpenAPI specification at /openapi.json, and a page at /docs that shows it without internet access."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from core.settings import Settings
from serving.api_guide import api_guide
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
_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
_REFERENCES = "#/components/schemas/{model}"
_TAGS = {
    "Read": "Recommendations and other lists of tracks.",
    "Write": "What clients send back.",
    "Health": "Whether the service works, and how well.",
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


def add_openapi(app: FastAPI, settings: Settings) -> None:
    """Add the OpenAPI specification, generated once, and the page that shows it.

    The page sends requests to its own address. The commands name SERVING_PUBLIC_URL, or else this machine.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _specification(app, settings)
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


def _specification(app: FastAPI, settings: Settings) -> dict[str, Any]:
    url = settings.serving_public_url or f"http://127.0.0.1:{settings.serving_port}"
    specification = get_openapi(
        title=app.title,
        version=app.version,
        description=api_guide(settings),
        routes=app.routes,
        license_info={"name": "Proprietary"},
    )
    components = specification.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    for model in (ProblemDetails, FieldError):
        schema = model.model_json_schema(ref_template=_REFERENCES)
        schema.pop("$defs", None)
        components["schemas"][model.__name__] = schema
    specification["servers"] = [
        {"url": f"{urlsplit(url).path}/", "description": "The address of this page."},
        {"url": url, "description": "This service."},
    ]
    specification["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    for name, path in specification["paths"].items():
        for operation in path.values():
            _describe_operation(operation)
            for parameter in operation.get("parameters", ()):
                _describe_parameter(parameter)
            _describe_etags(operation)
            command = _command(url, name, operation, components["schemas"])
            operation["x-codeSamples"] = [{"lang": "Shell", "label": "curl", "source": command}]
            operation["description"] += f"\n\n```sh\n{command}\n```"
    _write_bounds_as_integers(specification)
    return specification


def _write_bounds_as_integers(node: Any) -> None:
    """Correct the bounds of integers, in place: FastAPI writes floats, so the largest id is one too large."""
    if isinstance(node, dict) and node.get("type") == "integer":
        for name in {"minimum", "maximum"} & node.keys():
            node[name] = max(MIN_ID, min(MAX_ID, int(node[name])))
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _write_bounds_as_integers(child)


def _describe_operation(operation: dict[str, Any]) -> None:
    """Join the lines of the description, and add the scope and how to send the API key."""
    text = _LINE_BREAK.sub(" ", operation["description"])
    if "x-scope" not in operation:
        operation["description"], operation["security"] = f"{text}\n\nNeeds no API key.", []
        return
    operation["description"] = f"{text}\n\nNeeds the scope `{operation['x-scope']}`."
    schemes = ["bearer", "header", *(["basic"] if "x-browser" in operation else [])]
    operation["security"] = [{name: []} for name in schemes]


def _describe_parameter(parameter: dict[str, Any]) -> None:
    """Write what Swagger UI shows: examples of ids and deprecation at the parameter, and lists as comma-separated."""
    schema = parameter["schema"]
    if parameter["in"] == "query":  # a query has no null
        options = [option for option in schema.pop("anyOf", ()) if option["type"] != "null"]
        schema = parameter["schema"] = {**(options[0] if options else {}), **schema}
    elif "examples" in schema:
        parameter["example"] = schema["examples"][0]
    if schema.get("deprecated"):
        parameter["deprecated"] = True
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": False}


def _describe_etags(operation: dict[str, Any]) -> None:
    """Document the ETag of a list where 304 is possible."""
    if "304" not in operation["responses"]:
        return
    tag = {"description": "Send it as If-None-Match, with its quotes.", "schema": {"type": "string"}}
    for status in ("200", "304"):
        operation["responses"][status]["headers"] = {"ETag": tag}
    operation["parameters"].append(
        {
            "name": "If-None-Match",
            "in": "header",
            "description": "ETags of earlier responses, with their quotes. 304 if the content has not changed since.",
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
