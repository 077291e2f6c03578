"""The runbook and the other pages of `docs/`, rendered here, so that every recommended action is one click away."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from starlette.responses import Response

from core.runbook import RUNBOOK
from serving.console.console_request import ConsolePageMissing, ConsoleRequest
from serving.console.rendering import PREFIX
from serving.dashboard.links import anchor

_ROOT = Path(__file__).parent.parent.parent
_NAME = re.compile(r"[a-z0-9-]+", re.ASCII)
_RUNBOOK_NAME = Path(RUNBOOK).stem


async def show_runbook(request: ConsoleRequest) -> Response:
    """`docs/operations.md`. Raises ConsolePageMissing."""
    return _show(request, _RUNBOOK_NAME)


async def show_document(request: ConsoleRequest) -> Response:
    """Another page of `docs/`. Raises ConsolePageMissing."""
    return _show(request, request.path_text("name"))


def _show(request: ConsoleRequest, name: str) -> Response:
    if not _NAME.fullmatch(name) or not (_ROOT / "docs" / f"{name}.md").is_file():
        raise ConsolePageMissing("This page of the documentation is not installed here.")
    title, html = render_document(name)
    return request.page("document.html", "runbook", title, document=html, is_runbook=name == _RUNBOOK_NAME)


@cache
def render_document(name: str) -> tuple[str, Markup]:
    """The title and the HTML of `docs/<name>.md`. Headings have the anchors of GitHub; HTML in the text is escaped."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse((_ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"))
    title = name
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            text = tokens[position + 1].content
            token.attrSet("id", anchor(text))
            title = text if token.tag == "h1" else title
        for child in token.children or ():
            _adapt(child, name)
    html: str = markdown.renderer.render(tokens, markdown.options, {})
    # A wide block scrolls, so the keyboard must reach it.
    return title, Markup(html.replace("<pre>", '<pre tabindex="0">'))  # noqa: S704  our own text


def _adapt(token: Token, name: str) -> None:
    """Point links to pages of the console, and replace images, which the page may not load, by their description."""
    if token.type == "link_open":
        token.attrSet("href", _address(str(token.attrGet("href") or ""), name))
    elif token.type == "image":
        token.type, token.tag, token.children = "text", "", None


def _address(link: str, name: str) -> str:
    """The address of a link in the console. A link to another file leads to the top of this page."""
    parts = urlsplit(link)
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    if parts.scheme in ("http", "https") or (not parts.path and fragment):
        return link
    target = Path(parts.path)
    if target.suffix == ".md" and len(target.parts) == 1 and _NAME.fullmatch(target.stem):
        return (
            f"{PREFIX}/runbook{fragment}" if target.stem == _RUNBOOK_NAME else f"{PREFIX}/docs/{target.stem}{fragment}"
        )
    return f"{PREFIX}/runbook" if name == _RUNBOOK_NAME else f"{PREFIX}/docs/{name}"
