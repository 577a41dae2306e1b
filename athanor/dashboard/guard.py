"""Who may pass: the right host, no foreign page, the token, and only to look unless told otherwise.

It stands in front of every route, so that one that is added later is closed as well.
"""

import ipaddress
import re
import secrets
from collections.abc import Container
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from athanor.dashboard.pages import render
from athanor.dashboard.token import SESSION_SECONDS, Token

OPEN_PATHS = ("/healthz", "/readyz")  # for whoever watches the service: they say ok, or not
LOGIN, LOGOUT = "/login", "/logout"
MAX_LOGIN = 4096  # bytes
HOST = re.compile(r"(?:(?P<name>[\w.-]+)|\[(?P<address>[0-9a-fA-F:.]+)\])(?::(?P<port>\d+))?")
# What may be written with --writable: what people say of a trial, never what workers found.
WRITABLE = re.compile(r"/api/studies/\d+(/\d+)?/note|/api/artifacts/\d+(/\d+)?(/[0-9a-fA-F-]+)?")
NO_WRITING = "the dashboard shows and changes nothing; with --writable, notes and artifacts"


class Guard:
    """The outermost part of the application.

    Args:
        hosts: names, besides IP addresses and localhost, by which the dashboard may be called. A
            page of a foreign name that is made to point here (DNS rebinding) still sends its own.
    """

    def __init__(
        self, app: ASGIApp, *, token: Token, hosts: Container[str], writable: bool
    ) -> None:
        self._app, self._token, self._hosts, self._writable = app, token, hosts, writable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # nothing here speaks WebSocket
        request = Request(scope, receive)
        refusal = await self._refusal(request)
        await (refusal or self._app)(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        # the path by which requests are routed: that of `request.url` rests on the Host header, too
        headers, path = request.headers, str(request.scope["path"])
        looks = request.method in ("GET", "HEAD")
        name = _host_name(headers)
        if name is None or not (_is_address(name) or name in self._hosts):
            return _refused(403, f"the host must be one of this dashboard, but got {name!r}")
        if not _same_origin(headers):
            return _refused(403, "the request must come from a page of this dashboard")
        if ".." in path.replace("\\", "/").split("/"):
            return _refused(404, "no such page")
        if looks and path in OPEN_PATHS:
            return None
        if request.method == "POST" and path == LOGIN:
            return await self._log_in(request)
        if not self._knows(request):
            return _unknown(request)
        if request.method == "POST" and path == LOGOUT:
            return _logged_out(request)
        if looks or (self._writable and WRITABLE.fullmatch(path)):
            return None
        return _refused(403, NO_WRITING)

    def _knows(self, request: Request) -> bool:
        """Whether a request brings the token, or a cookie that was given for it."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._token.matches(given.strip()):
            return True
        cookie = request.cookies.get(_cookie_name(request))
        return cookie is not None and self._token.accepts(cookie)

    async def _log_in(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_LOGIN:
                return _refused(413, f"a login must have at most {MAX_LOGIN} bytes")
        (given,) = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[:1]
        if not self._token.matches(given.strip()):
            return _unknown(request, wrong=True)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            _cookie_name(request),
            self._token.cookie(),
            max_age=int(SESSION_SECONDS),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer


def _host_name(headers: Headers) -> str | None:
    """Return the name in the Host header, without its port; None if it is not just that."""
    hosts = headers.getlist("host")
    found = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return None if found is None else (found["name"] or found["address"]).lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def _same_origin(headers: Headers) -> bool:
    """Whether a request is none of another page's, as far as the browser says.

    Links may lead here from anywhere: the cookie does not come along from other sites.
    """
    origin = headers.get("origin")
    if origin is None:
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        return not foreign or headers.get("sec-fetch-mode") == "navigate"
    return urlsplit(origin).netloc == headers["host"]


def _cookie_name(request: Request) -> str:
    """Return a name of the port's own: browsers send cookies to all ports of a host."""
    _, colon, port = request.headers["host"].rpartition(":")
    return f"athanor-{port}" if colon and port.isdigit() else "athanor"


def _unknown(request: Request, *, wrong: bool = False) -> Response:
    """Ask for the token: a person by a page, a program by an error."""
    headers = {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"}
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"reason": "a token is needed"}, status_code=401, headers=headers)
    nonce = secrets.token_urlsafe(16)
    headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    return Response(
        render("login.html", nonce=nonce, wrong=wrong),
        status_code=401,
        headers=headers,
        media_type="text/html",
    )


def _logged_out(request: Request) -> Response:
    answer = RedirectResponse("/", status_code=303)
    answer.delete_cookie(_cookie_name(request), httponly=True, samesite="strict")
    return answer


def _refused(status: int, reason: str) -> Response:
    return JSONResponse({"reason": reason}, status_code=status)
