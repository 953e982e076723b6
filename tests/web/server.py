"""A page of small models, served in a thread, and a client that sends requests as they are."""

import contextlib
import http.client
import io
import json
import threading
import time
from urllib.parse import quote

import numpy as np
from PIL import Image

from tests.fake_spotter import paint, write_model
from wecromcl_d2.data.datasets import write_labels
from wecromcl_d2.predictor import Anchors, Spotter
from wecromcl_d2.predictor.images import ImageSource
from wecromcl_d2.web.guard import hosts_of
from wecromcl_d2.web.models import Models
from wecromcl_d2.web.run import listen, server_of
from wecromcl_d2.web.server import build_app

CELL = 8
START = 20  # seconds in which a server must have started


def scene(words):
    """RGB pixels with words, each at its (left, top), that the models below see."""
    image = np.zeros((96, 160, 3), np.uint8)
    for word, (left, top) in words.items():
        paint(image, word, left, top)
    return image


def encoded(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


class BlockFinder:
    """Finds words by reading them: the place of its word has all of a map."""

    def __init__(self, spotter):
        self.spotter = spotter

    def __call__(self, pixels, words):
        read = self.spotter(pixels)
        height, width = pixels.shape[:2]
        maps = np.zeros((len(words), height // CELL, width // CELL), np.float32)
        points, similarity = np.zeros((len(words), 2)), np.zeros(len(words))
        for number, word in enumerate(words):
            if word in read.words:
                x, y = points[number] = read.points[read.words.index(word)]
                maps[number, int(y) // CELL, int(x) // CELL] = similarity[number] = 1
        return Anchors(
            list(words),
            points,
            similarity,
            similarity,
            maps,
            (CELL, CELL),
            [],
            height,
            width,
            ImageSource(pixels),
        )


def block_models(folder):
    spotter = Spotter(*write_model(folder))
    return Models(spotter, BlockFinder(spotter))


def write_scenes(folder):
    """Two photographs and a label file with one point that is wrong and one word that is absent."""
    (folder / "photos").mkdir(parents=True)
    words = {"hill": (16, 16), "street": (64, 56)}
    for name in ("a.png", "b.png"):
        (folder / "photos" / name).write_bytes(encoded(scene(words)))
    record = {"height": 96, "width": 160, "texts": ["hill", "street"]}
    first = {"points": [[32.0, 20.0], [10.0, 90.0]], "similarity": [0.9, 0.2]}
    second = {"points": [[32.0, 20.0], [88.0, 60.0]], "similarity": [0.8, 0.4]}
    labels = folder / "anchors.jsonl"
    write_labels(
        labels,
        [{"file_name": "a.png", **record, **first}, {"file_name": "b.png", **record, **second}],
    )
    return labels


@contextlib.contextmanager
def served(models, review, limits):
    """The address, host and port, of a page."""
    socket = listen("127.0.0.1", 0)
    server = server_of(build_app(models, review, limits, hosts_of("127.0.0.1")))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    end = time.monotonic() + START
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    assert server.started
    try:
        yield socket.getsockname()
    finally:
        server.should_exit = True
        thread.join(START)


class Client:
    """Sends paths unchanged, unlike clients that tidy them."""

    def __init__(self, address):
        self.host, self.port = address[:2]

    def __call__(self, method, path, body=None, headers=()):
        """Status, headers and content of the answer; JSON is parsed."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.headers.get_content_type() == "application/json":
            content = json.loads(content)
        return answer.status, answer.headers, content

    def get(self, path):
        status, _, content = self("GET", path)
        assert status == 200, content
        return content

    def post(self, path, body):
        """Status and content."""
        if isinstance(body, dict):
            body = json.dumps(body)
        status, _, content = self("POST", path, body)
        return status, content

    def find(self, image, *words):
        return self.post("/api/find?" + "&".join(f"word={quote(word)}" for word in words), image)
