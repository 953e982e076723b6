"""The application behind the page: its files, and what its buttons ask for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .guard import Guard
from .limits import Limits, Rate, RequestError, checked_words, decoded_image
from .models import Models
from .review import Review

_STATIC = Path(__file__).resolve().parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Bytes of a request that carries no image, and words of a queue that are sent.
_SMALL_BODY = 10_000
_QUEUE = 2000
# Images that are held decoded at once.
_DECODERS = 2


class Page:
    """Handlers of the page's requests.

    Args:
        models: that read and find.
        review: of a label file, if one was given.
        limits: of requests.
    """

    def __init__(self, models: Models, review: Review | None, limits: Limits):
        self.models, self.review, self.limits = models, review, limits
        self.rate = Rate(limits.rate)
        self._free = limits.waiting
        # Of the threads that hold decoded images.
        self._decoders = asyncio.Semaphore(_DECODERS)
        self.files = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted(_STATIC.iterdir())
            if path.suffix in _TYPES
        }

    async def file(self, request: Request) -> Response:
        """A file of the page; only those that are in memory exist."""
        name = request.path_params.get("name", "index.html")
        if name not in self.files:
            raise RequestError(HTTPStatus.NOT_FOUND, "there is no such file")
        content, kind = self.files[name]
        return Response(content, media_type=kind)

    async def state(self, request: Request) -> Response:
        """What this page can do."""
        models, review = self.models, self.review
        labels = None if review is None else {"file": str(review.path)}
        return JSONResponse(
            {
                "read": models.spotter is not None,
                "find": models.finder is not None,
                "review": labels,
                "missing": models.missing,
                "limits": {name: getattr(self.limits, name) for name in ("size", "words")},
            }
        )

    async def read(self, request: Request) -> Response:
        """The words of the image in the request's body."""
        self._count(request)
        with self._slot():
            data = await self._body(request, self.limits.size)
            return await self._decoding(lambda: self.models.read(decoded_image(data, self.limits)))

    async def find(self, request: Request) -> Response:
        """The places of the words `?word=...&word=...` in the image in the request's body."""
        self._count(request)
        words = checked_words(request.query_params.getlist("word"), self.limits)
        with self._slot():
            data = await self._body(request, self.limits.size)
            return await self._decoding(
                lambda: self.models.find(decoded_image(data, self.limits), words)
            )

    async def queue(self, request: Request) -> Response:
        """The words to review."""
        review = self._review()
        return await _in_thread(lambda: review.queue(_QUEUE))

    async def photograph(self, request: Request) -> Response:
        """The image of a record."""
        review, image = self._review(), request.path_params["image"]
        with self._slot():
            async with self._decoders:
                content = await asyncio.to_thread(review.jpeg, image)
        return Response(content, media_type="image/jpeg")

    async def word_map(self, request: Request) -> Response:
        """The activation map of a word under review, see `Models.find`."""
        review = self._review()
        image, word = (request.path_params[name] for name in ("image", "word"))
        self._count(request)
        with self._slot():
            return await self._decoding(
                lambda: self.models.find(review.pixels(image), [review.text(image, word)])
            )

    async def change(self, request: Request) -> Response:
        """A step of the review, the JSON object of the request's body.

        It has `step`, one of "move", "confirm", "absent" and "undo", and, but for the last one,
        `image` and `word`; "move" has `point`.
        """
        review = self._review()
        body = _json(await self._body(request, _SMALL_BODY))
        place = [body.get(key) for key in ("image", "word")]
        steps: dict[str, Callable[..., dict[str, Any]]] = {
            "move": lambda image, word: review.move(image, word, body.get("point")),
            "confirm": review.confirm,
            "absent": review.mark_absent,
        }
        if body.get("step") == "undo":
            return await _in_thread(review.undo)
        step = steps.get(str(body.get("step")))
        if step is None or any(type(number) is not int for number in place):
            raise RequestError(
                HTTPStatus.BAD_REQUEST,
                "a step is move, confirm, absent or undo, with the numbers of an image and a word",
            )
        return await _in_thread(lambda: step(*place))

    def _review(self) -> Review:
        if self.review is None:
            raise RequestError(
                HTTPStatus.NOT_FOUND, "this page was started without --labels, so nothing to review"
            )
        return self.review

    async def _decoding(self, answer: Callable[[], dict[str, Any]]) -> Response:
        """`_in_thread`, for an answer that decodes an image."""
        async with self._decoders:
            return await _in_thread(answer)

    def _count(self, request: Request) -> None:
        """Count a request to a model."""
        self.rate.check(request.client.host if request.client else "")

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Room for one more request that holds an image, taken before its body is received."""
        if not self._free:
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once; try again"
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def _body(self, request: Request, limit: int) -> bytes:
        """The request's body.

        Raises:
            RequestError: if it is longer than the limit, as announced or as received, or too slow.
        """
        too_long = RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {limit / 1e6:.3g} MB; send less"
        )
        announced = request.headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced) > limit:
            raise too_long
        content = bytearray()

        async def receive() -> None:
            async for chunk in request.stream():
                content.extend(chunk)
                if len(content) > limit:
                    raise too_long

        try:
            await asyncio.wait_for(receive(), self.limits.upload_time)
        except asyncio.TimeoutError:
            raise RequestError(HTTPStatus.REQUEST_TIMEOUT, "the file did not arrive") from None
        except ClientDisconnect:
            raise RequestError(HTTPStatus.BAD_REQUEST, "the file was not sent whole") from None
        return bytes(content)


async def _in_thread(answer: Callable[[], dict[str, Any]]) -> Response:
    """The answer as JSON, computed in a thread."""
    return JSONResponse(await asyncio.to_thread(answer))


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RequestError(HTTPStatus.BAD_REQUEST, "the request's body is no JSON object")
    return value


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse({"error": error.message}, error.status)


def build_app(
    models: Models, review: Review | None, limits: Limits, hosts: Collection[str] = ()
) -> Starlette:
    """The ASGI application of a page.

    Args:
        models: that read and find.
        review: of a label file, if there is one.
        limits: of requests.
        hosts: names by which the page may be called, see `Guard`.
    """
    page = Page(models, review, limits)
    return Starlette(
        routes=[
            Route("/", page.file),
            Route("/static/{name}", page.file),
            Route("/api/state", page.state),
            Route("/api/read", page.read, methods=["POST"]),
            Route("/api/find", page.find, methods=["POST"]),
            Route("/api/review", page.queue),
            Route("/api/review", page.change, methods=["POST"]),
            Route("/api/review/image/{image:int}", page.photograph),
            Route("/api/review/map/{image:int}/{word:int}", page.word_map),
        ],
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={RequestError: _refuse},
    )
