"""What every request passes: checks of its origin, and headers that keep the page to itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The page loads nothing but its own files, and no other page may frame it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware against other sites that reach for the page through the user's browser.

    Args:
        app: the application.
        hosts: names by which the page may be called, without port; empty for any.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]):
        self.app, self.hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["type"] == "http":
            reason = self._refusal(Headers(scope=scope), scope["path"])
            if reason:
                answer = JSONResponse({"error": reason}, HTTPStatus.FORBIDDEN)
                await answer(scope, receive, send_with_headers)
                return
        await self.app(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers, path: str) -> str:
        """Why a request is refused; empty if it is not."""
        host = headers.get("host", "")
        if self.hosts and _host_name(host) not in self.hosts:
            return f"this page is not called {host!r}"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return f"a page of {origin} may not use this one"
        # Browsers tell what asks; other pages may link to this one, but not embed parts of it.
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and path != "/":
            return "another page may not use this one"
        return ""


def _host_name(host: str) -> str:
    """The name in a Host header, without the port; empty if it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def hosts_of(bound: str) -> frozenset[str]:
    """Names of a page bound to an address: those of this computer, or any for another address."""
    names = {"localhost", "127.0.0.1", "::1"}
    return frozenset(names | {bound}) if is_loopback(bound) else frozenset()


def is_loopback(host: str) -> bool:
    """Whether only programs of this computer reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
