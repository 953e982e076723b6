"""Limits on what a request may ask for: bytes, pixels, words, and requests a minute."""

from __future__ import annotations

import io
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..data.images import ImageError, read_image

# What a browser can show as well.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
# Addresses whose rates are remembered at once.
_ADDRESSES = 1024


class RequestError(Exception):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        message: sentence for the reader of the page.
    """

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Limits:
    """Largest values of a request.

    Attributes:
        size: bytes of an image file.
        pixels: of an image, before it is decoded.
        words: to find in one image.
        letters: of one word.
        waiting: requests that wait for a model or arrive at once; further ones are told to try
            again.
        rate: requests to the models a minute and address.
        upload_time: seconds in which a file must have arrived.
    """

    size: int = 20 * 2**20
    pixels: int = 40_000_000
    words: int = 32
    letters: int = 100
    waiting: int = 16
    rate: int = 120
    upload_time: float = 60.0


class Rate:
    """Requests a minute of each address: a bucket that holds a minute's requests and refills.

    Args:
        per_minute: requests.
        clock: seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self.per_minute, self.clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Count a request.

        Raises:
            RequestError: if the address has used up its requests.
        """
        now = self.clock()
        left, then = self._buckets.pop(address, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - then) * self.per_minute / 60)
        self._buckets[address] = (max(0.0, left - 1), now)
        if len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        if left < 1:
            raise RequestError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"more than {self.per_minute} requests a minute; wait a few seconds",
            )


def checked_words(words: list[str], limits: Limits) -> list[str]:
    """The words without blanks around them and without empty ones.

    Raises:
        RequestError: if there is none, or they are too many or too long.
    """
    given = [word.strip() for word in words if word.strip()]
    if not given:
        raise RequestError(HTTPStatus.BAD_REQUEST, "give at least one word to find")
    if len(given) > limits.words:
        raise RequestError(
            HTTPStatus.BAD_REQUEST, f"{len(given)} words; give at most {limits.words} at once"
        )
    longest = max(given, key=len)
    if len(longest) > limits.letters:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            f"a word of {len(longest)} letters; give at most {limits.letters}",
        )
    return given


def decoded_image(data: bytes, limits: Limits) -> np.ndarray:
    """Upright RGB pixels of an uploaded file, whose size is checked before it is decoded.

    Raises:
        RequestError: if it is no image of `IMAGE_FORMATS`, too large or damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as file:
            width, height = file.size
    except Image.DecompressionBombError:
        raise _too_many_pixels("far more", limits) from None
    except UnidentifiedImageError:
        names = ", ".join(IMAGE_FORMATS)
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"this file is no image of the types {names}"
        ) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"the image is damaged: {error}") from None
    if width * height > limits.pixels:
        raise _too_many_pixels(f"{width} x {height}", limits)
    try:
        return read_image(data)
    except ImageError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from None


def _too_many_pixels(size: str, limits: Limits) -> RequestError:
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the image has {size} pixels; at most {limits.pixels / 1e6:g} million are read",
    )
