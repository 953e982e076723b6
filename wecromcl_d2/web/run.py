"""The server's socket and its run."""

from __future__ import annotations

import socket
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

# Connections at once; further ones get the status 503.
_CONNECTIONS = 256
_BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: naming the address, if it is taken or not of this computer.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(
            f"cannot listen at {host}, port {port}: {error.strerror}; choose another --port"
        ) from error


def server_of(app: ASGIApp) -> uvicorn.Server:
    """A server that has not started yet."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=20,
        lifespan="off",
    )
    return uvicorn.Server(config)


def run(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until the process is interrupted."""
    with suppress(KeyboardInterrupt):
        server_of(app).run(sockets=[listening])
