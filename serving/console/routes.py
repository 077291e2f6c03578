"""`/console`: sign in, then pages for people. Nothing here is part of the API for front ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import RedirectResponse, Response

from core.errors import DatabaseError, StatementRefused
from core.settings import Settings
from serving.console import (
    batch_pages,
    expectation_pages,
    experiment_pages,
    explore_pages,
    model_pages,
    run_pages,
    runbook_pages,
    stream_pages,
)
from serving.console.action_pages import ConsoleActions
from serving.console.console_request import ConsolePageMissing, ConsoleRequest
from serving.console.console_sessions import COOKIE, ConsoleSession, ConsoleSessions, SessionCookie
from serving.console.deployment_runs import DeploymentRuns
from serving.console.health_pages import ConsoleHealth
from serving.console.openid import CALLBACK_PATH, SIGN_IN_LIFETIME, OpenIdSignIn, SignInRefused, StartedSignIn
from serving.console.openid import COOKIE as SIGN_IN_COOKIE
from serving.console.rendering import PREFIX, console_response
from serving.dashboard.links import Links
from serving.problems import DATABASE_UNAVAILABLE, RETRY_SECONDS_DATABASE_UNAVAILABLE, Problem
from serving.request_context import context_of
from serving.routing import Dependencies

ShowPage = Callable[[ConsoleRequest], Awaitable[Response]]
_MAX_FORM_BYTES = 16_384
_MAX_FIELDS = 50


def add_console(app: FastAPI, dependencies: Dependencies, settings: Settings) -> None:
    """Add the routes below `/console`."""
    console = _Console(
        dependencies,
        settings,
        ConsoleSessions(dependencies.database, dependencies.clock),
        OpenIdSignIn(settings),
        replace(Links.from_settings(settings), console=PREFIX, runbook=f"{PREFIX}/runbook"),
    )
    runs = DeploymentRuns(settings)
    actions = ConsoleActions(runs)
    router = APIRouter(prefix=PREFIX, include_in_schema=False)
    router.add_api_route("/sign-in", console.show_sign_in, methods=["GET"])
    router.add_api_route("/sign-in", console.sign_in, methods=["POST"])
    if console.openid.is_configured:
        router.add_api_route("/sign-in/openid", console.start_openid, methods=["GET"])
        router.add_api_route(CALLBACK_PATH.removeprefix(PREFIX), console.finish_openid, methods=["GET"])
    router.add_api_route("/sign-out", console.sign_out, methods=["POST"])
    pages: dict[str, ShowPage] = {
        "": ConsoleHealth(settings, dependencies.database, dependencies.clock).show,
        "/batches": batch_pages.show_batches,
        "/batches/{batch_id}": batch_pages.show_batch,
        "/expectations": expectation_pages.show_expectations,
        "/expectations/{endpoint}/{expectation}": expectation_pages.show_expectation,
        "/figures/{endpoint}/{figure}": expectation_pages.show_figure,
        "/models": model_pages.show_models,
        "/models/{model_run_id}": model_pages.show_training,
        "/explore": explore_pages.show_search,
        "/explore/users/{user_id}": explore_pages.show_user,
        "/explore/tracks/{track_id}": explore_pages.show_track,
        "/experiments": experiment_pages.show_experiments,
        "/experiments/{experiment_id}": experiment_pages.show_experiment,
        "/stream": stream_pages.show_stream,
        "/runs/{run_id}": run_pages.run_opener(runs),
        "/actions": actions.show_all,
        "/actions/{action}": actions.show_form,
        "/runbook": runbook_pages.show_runbook,
        "/docs/{name}": runbook_pages.show_document,
    }
    for path, show in pages.items():
        router.add_api_route(path, console.signed_in(show), methods=["GET"], name=f"console{path or '/'}")
    router.add_api_route(
        "/actions/{action}", console.acting(actions), methods=["POST"], name="console/actions/{action}"
    )
    app.include_router(router)


@dataclass(frozen=True)
class _Console:
    dependencies: Dependencies
    settings: Settings
    sessions: ConsoleSessions
    openid: OpenIdSignIn
    links: Links

    def signed_in(self, show: ShowPage) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a page: it needs a session, and shows errors as pages."""

        async def endpoint(request: Request) -> Response:
            try:
                session = await self.sessions.find(request.cookies.get(COOKIE))
                if session is None:
                    return _to_sign_in(request)
                context_of(request.scope).key_id = session.key_id
                return await show(self._console_request(request, session))
            except ConsolePageMissing as error:
                return _message(404, "Not found", str(error), session=session)
            except DatabaseError as error:
                return _outage(request, error)

        return endpoint

    def acting(self, actions: ConsoleActions) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint that starts an action: only for a form that a page of this server sent."""

        async def endpoint(request: Request) -> Response:
            form = await read_form(request)
            if not _is_same_origin(request):
                return _message(403, "Nothing was started", "This form was sent by another site.")

            async def start(console_request: ConsoleRequest) -> Response:
                return await actions.start(console_request, form)

            return await self.signed_in(start)(request)

        return endpoint

    async def show_sign_in(self, request: Request) -> Response:
        """The form for the API key, and the link to the provider of OpenID Connect if there is one."""
        return self._sign_in_page(_own_path(request.query_params.get("next", "")))

    async def sign_in(self, request: Request) -> Response:
        """Exchange an API key for a session."""
        form = await read_form(request)
        following = _own_path(form.get("next", ""))
        if not _is_same_origin(request):
            return self._sign_in_page(following, "This form was sent by another site. Enter the key here.", 403)
        try:
            key_id = await self.dependencies.access_control.authorize_key(
                request.scope, form.get("key", "").strip(), "console:read"
            )
            cookie = await self.sessions.open_for_key(key_id)
        except Problem as problem:
            return self._refused_page(request, following, problem)
        except DatabaseError as error:
            return _outage(request, error)
        return self._signed_in_response(request, following, cookie)

    async def start_openid(self, request: Request) -> Response:
        """Send the browser to the provider of OpenID Connect."""
        following = _own_path(request.query_params.get("next", ""))
        try:
            await self.dependencies.access_control.refuse_if_too_many(request.scope)
            address, started = await self.openid.start(following)
        except SignInRefused as refusal:
            return await self._refused(request, following, refusal)
        except Problem as problem:
            return self._refused_page(request, following, problem)
        response = RedirectResponse(address, 303, {"Cache-Control": "no-store"})
        response.set_cookie(
            SIGN_IN_COOKIE,
            started.to_cookie(),
            max_age=int(SIGN_IN_LIFETIME.total_seconds()),
            path=CALLBACK_PATH,
            secure=self._is_https(request),
            httponly=True,
            samesite="lax",  # the provider is another site, and sends the browser back with a link
        )
        return response

    async def finish_openid(self, request: Request) -> Response:
        """Exchange the provider's code for a session."""
        started = StartedSignIn.from_cookie(request.cookies.get(SIGN_IN_COOKIE, ""))
        following = _own_path(started.following if started else "")
        try:
            await self.dependencies.access_control.refuse_if_too_many(request.scope)
            person = await self.openid.finish(started, request.query_params)
            response = self._signed_in_response(request, following, await self.sessions.open_for_person(person))
        except SignInRefused as refusal:
            response = await self._refused(request, following, refusal)
        except Problem as problem:
            response = self._refused_page(request, following, problem)
        except DatabaseError as error:
            response = _outage(request, error)
        response.delete_cookie(SIGN_IN_COOKIE, path=CALLBACK_PATH, httponly=True, samesite="lax")
        return response

    def _signed_in_response(self, request: Request, following: str, cookie: SessionCookie) -> Response:
        response = RedirectResponse(following, 303, {"Cache-Control": "no-store"})
        response.set_cookie(
            COOKIE,
            cookie.token,
            max_age=int(cookie.lifetime.total_seconds()),
            path=PREFIX,
            secure=self._is_https(request),
            httponly=True,
            samesite="strict",
        )
        return response

    async def _refused(self, request: Request, following: str, refusal: SignInRefused) -> Response:
        """The sign-in page after OpenID Connect failed. A failure counts like a wrong key of the address."""
        context = context_of(request.scope)
        context.problem, context.why = "sign-in-refused", refusal.why
        try:
            await self.dependencies.access_control.count_refusal(request.scope)
        except Problem as problem:
            return self._refused_page(request, following, problem)
        return self._sign_in_page(following, str(refusal), refusal.status)

    def _refused_page(self, request: Request, following: str, problem: Problem) -> Response:
        context_of(request.scope).problem = problem.kind.name
        return self._sign_in_page(following, f"{problem.kind.title}: {problem.explanation}.", problem.kind.status)

    def _sign_in_page(self, following: str, problem: str = "", status: int = 200) -> Response:
        return console_response(
            "sign_in.html",
            status,
            title="Sign in",
            session=None,
            now=None,
            next=following,
            problem=problem,
            openid=self.openid.is_configured,
        )

    def _is_https(self, request: Request) -> bool:
        return self.settings.serving_public_url.startswith("https://") or request.url.scheme == "https"

    async def sign_out(self, request: Request) -> Response:
        """End the session, in the database and in the browser."""
        form = await read_form(request)
        response = RedirectResponse(f"{PREFIX}/sign-in", 303)
        try:
            session = await self.sessions.find(request.cookies.get(COOKIE))
            if session is not None:
                if not session.accepts_form(form.get("csrf_token", "")):
                    return _message(403, "Not signed out", "The form was not made for this session.", session=session)
                await self.sessions.close(session.token)
        except DatabaseError as error:
            return _outage(request, error)
        response.delete_cookie(COOKIE, path=PREFIX, httponly=True, samesite="strict")
        return response

    def _console_request(self, request: Request, session: ConsoleSession) -> ConsoleRequest:
        return ConsoleRequest(
            request,
            session,
            self.dependencies.database,
            self.settings,
            self.links,
            self.dependencies.clock(),
        )


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; the last value of a repeated one. No fields if it has too many, or too many bytes."""
    body = await request.body()
    if len(body) > _MAX_FORM_BYTES:
        return {}
    text = body.decode("utf-8", "replace").replace("\0", "")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        return {}


def _to_sign_in(request: Request) -> Response:
    """Lead to the sign-in page. A browser that follows a link of another site sends no cookie: it must ask again."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        html = "<!DOCTYPE html><title>MoovitaMix console</title>"
        return Response(html, headers={"Refresh": "0", "Cache-Control": "no-store"}, media_type="text/html")
    address = request.url.path + (f"?{request.url.query}" if request.url.query and request.method == "GET" else "")
    return RedirectResponse(f"{PREFIX}/sign-in?next={quote(address)}", 303)


def _own_path(path: str) -> str:
    """The path if it leads into the console, else its first page: a sign-in must not lead to another site."""
    is_own = path == PREFIX or path.startswith((f"{PREFIX}/", f"{PREFIX}?"))
    return path if is_own and "\\" not in path and path.isprintable() else PREFIX


def _is_same_origin(request: Request) -> bool:
    """Whether the browser says that a page of this server sent the form. Programs send no such header."""
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _message(
    status: int, title: str, text: str, *, session: ConsoleSession | None = None, headers: dict[str, str] | None = None
) -> Response:
    return console_response(
        "message.html",
        status,
        headers,
        title=title,
        text=text,
        session=session,
        section="",
        now=None,
        address=PREFIX if session else "",
        address_text="To the health page",
    )


def _outage(request: Request, error: DatabaseError) -> Response:
    """The page while the database does not answer."""
    context = context_of(request.scope)
    context.problem, context.why = DATABASE_UNAVAILABLE.name, str(error)
    text = "The database does not respond, so you cannot sign in. Reload this page in a moment."
    if isinstance(error, StatementRefused):
        text = "The database rejects the queries of the console. Migrate its schema: python -m core.migrate"
    headers = {"Retry-After": str(RETRY_SECONDS_DATABASE_UNAVAILABLE)}
    return _message(503, "The database does not respond", text, headers=headers)
