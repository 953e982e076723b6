"""The page's server: what it answers, and what it refuses."""

import base64
import io
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

from tests.web.server import Client, block_models, encoded, scene, served, write_scenes
from wecromcl_d2.web.limits import Limits, Rate, RequestError
from wecromcl_d2.web.models import map_png
from wecromcl_d2.web.review import Review

WORDS = {"hill": (16, 16), "street": (64, 56)}
LIMITS = Limits(size=200_000, pixels=1_000_000, words=4, letters=20, waiting=8, rate=100_000)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return block_models(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def client(models, tmp_path_factory):
    labels = write_scenes(tmp_path_factory.mktemp("shop"))
    review = Review(f"{labels}@{labels.parent / 'photos'}", LIMITS)
    with served(models, review, LIMITS) as address:
        yield Client(address)


def png_header(width, height):
    """A PNG of a few bytes that says it is large."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 9) + b"IDAT" + bytes(9)


def test_reading_gives_the_words_and_their_places(client):
    status, answer = client.post("/api/read", encoded(scene(WORDS)))
    assert status == 200
    assert dict(zip(answer["texts"], answer["points"], strict=True)) == {
        "hill": [32, 20],
        "street": [88, 60],
    }


def test_finding_gives_the_map_the_anchor_and_the_similarity_of_each_word(client):
    status, answer = client.find(encoded(scene(WORDS)), "street", " hill ")
    assert (status, answer["texts"]) == (200, ["street", "hill"])
    np.testing.assert_allclose(answer["points"], [[88, 60], [32, 20]], atol=1)
    assert (answer["similarity"], answer["cell_size"]) == ([1, 1], [8, 8])
    cells = np.array(Image.open(io.BytesIO(base64.b64decode(answer["maps"][0]))))
    assert (cells.shape, cells.max()) == ((12, 20), 255)
    assert np.argwhere(cells).tolist() == [[60 // 8, 88 // 8]]


def test_a_map_is_sent_as_square_roots_relative_to_its_largest_value():
    sent = map_png(np.array([[0.5, 0.125, 0.02], [0, 0, 0]], np.float32))
    cells = np.array(Image.open(io.BytesIO(base64.b64decode(sent))))
    assert cells.tolist() == [[255, 128, 51], [0, 0, 0]]  # roots of 1, 1/4, 1/25


def test_an_uploaded_photograph_is_turned_upright(client):
    turned = Image.fromarray(np.rot90(scene(WORDS)).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    stream = io.BytesIO()
    turned.save(stream, "PNG", exif=exif)
    _, answer = client.post("/api/read", stream.getvalue())
    assert (answer["height"], answer["width"], sorted(answer["texts"])) == (
        96,
        160,
        ["hill", "street"],
    )


def test_the_page_and_all_that_it_names_are_served(client):
    page = client.get("/").decode()
    for name in ("app.js", "style.css", "icon.svg"):
        assert f"/static/{name}" in page
        assert client.get(f"/static/{name}")
    assert "http://" not in page and "https://" not in page


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/../../../../etc/passwd",
        "/static//etc/passwd",
        "/static/..%5cserver.py",
        "/static/server.py%00.js",
        "/api/review/image/..%2f..%2fanchors.jsonl",
        "/api/review/image/-1",
        "/api/review/image/2",
        "/api/review/image/99999999999999999999",
    ],
)
def test_no_path_leads_out_of_the_served_files(client, path):
    assert client("GET", path)[0] in (404, 400)


@pytest.mark.parametrize("escape", ["symlink", "name"])
def test_an_image_outside_the_image_root_is_not_served(tmp_path, escape, monkeypatch):
    labels = write_scenes(tmp_path)
    outside = tmp_path / "secret.png"
    (tmp_path / "photos" / "a.png").rename(outside)
    (tmp_path / "photos" / "a.png").symlink_to(outside)
    review = Review(f"{labels}@{tmp_path / 'photos'}", LIMITS)
    if escape == "name":
        review.heads[0]["file_name"] = "../secret.png"
    with pytest.raises(RequestError, match="outside the image root"):
        review.jpeg(0)
    assert review.jpeg(1)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 415, "no image of the types"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "no image of the types"),
        (b"%PDF-1.7", 415, "no image of the types"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415, "no image of the types"),
        (png_header(30_000, 30_000), 413, "at most 1 million"),
        (png_header(1001, 1000), 413, "1001 x 1000"),
        (encoded(scene(WORDS))[:150], 400, "cannot use image"),
        (b"x" * 200_001, 413, "send less"),
    ],
    ids=["empty", "svg", "pdf", "postscript", "bomb", "large", "damaged", "long"],
)
def test_bad_files_are_refused_with_a_sentence(client, body, status, message):
    answer = client.post("/api/read", body)
    assert (answer[0], message in answer[1]["error"]) == (status, True), answer


def test_a_bomb_is_refused_before_it_is_decoded(client, monkeypatch):
    decoded = []
    monkeypatch.setattr("wecromcl_d2.web.limits.read_image", lambda data: decoded.append(data))
    stream = io.BytesIO()
    Image.new("1", (4000, 4000)).save(stream, "PNG")
    assert len(stream.getvalue()) < LIMITS.size
    assert client.post("/api/read", stream.getvalue())[0] == 413
    assert not decoded


def test_a_body_without_a_length_is_cut_at_the_limit(client):
    status, _, answer = client("POST", "/api/read", (b"x" * 50_000 for _ in range(8)))
    assert (status, "send less" in answer["error"]) == (413, True)


def test_a_body_that_does_not_arrive_is_given_up(models):
    with served(models, None, replace(LIMITS, upload_time=0.2, waiting=1)) as address:
        with socket.create_connection(address[:2], timeout=20) as slow:
            slow.sendall(b"POST /api/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
            assert b" 408 " in slow.recv(100)
        assert Client(address).post("/api/read", encoded(scene(WORDS)))[0] == 200


@pytest.mark.parametrize(
    ("words", "message"),
    [([" "], "at least one"), (["a"] * 5, "at most 4"), (["a" * 21], "at most 20")],
)
def test_bad_words_are_refused(client, words, message):
    status, answer = client.find(encoded(scene(WORDS)), *words)
    assert (status, message in answer["error"]) == (400, True)


def test_other_sites_and_other_names_are_refused(client):
    image = encoded(scene(WORDS))
    own = f"{client.host}:{client.port}"
    for headers, status in [
        ({}, 200),
        ({"Origin": f"http://{own}"}, 200),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "elsewhere.example"}, 403),
        ({"Host": f"localhost:{client.port}"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this computer
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ]:
        assert client("POST", "/api/read", image, headers)[0] == status, headers


def test_another_page_may_link_to_this_one(client):
    assert client("GET", "/", headers={"Sec-Fetch-Site": "cross-site"})[0] == 200


def test_every_answer_forbids_what_is_not_its_own(client):
    for path in ("/", "/api/state", "/nowhere"):
        headers = client("GET", path)[1]
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "connect-src 'self'" in policy and "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_without_models_says_why(tmp_path):
    models = replaced = block_models(tmp_path)
    replaced.spotter, replaced.missing = None, {"read": "no weights of it"}
    with served(models, None, LIMITS) as address:
        client = Client(address)
        state = client.get("/api/state")
        assert (state["read"], state["find"], state["review"]) == (False, True, None)
        assert client.post("/api/read", encoded(scene(WORDS))) == (
            404,
            {"error": "no weights of it"},
        )
        assert "--labels" in client.post("/api/review", {"step": "undo"})[1]["error"]


def test_the_rate_of_an_address_is_limited_and_recovers():
    now = [0.0]
    rate = Rate(60, clock=lambda: now[0])
    for _ in range(60):
        rate.check("here")
    with pytest.raises(RequestError, match="60 requests a minute"):
        rate.check("here")
    rate.check("there")
    now[0] += 1.01  # one request a second
    rate.check("here")
    with pytest.raises(RequestError):
        rate.check("here")


def test_200_requests_at_once_are_answered_or_told_to_come_again(models):
    image = encoded(scene(WORDS))
    counts = Counter()
    limits = replace(LIMITS, rate=60)
    began = time.monotonic()
    with served(models, None, limits) as address:
        client = Client(address)
        start = threading.Barrier(200)

        def ask():
            start.wait()
            status, answer = client.post("/api/read", image)
            counts[status] += 1
            if status == 200:
                assert sorted(answer["texts"]) == ["hill", "street"]
            else:
                assert answer["error"]

        threads = [threading.Thread(target=ask) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.get("/api/state")["read"]
    assert sum(counts.values()) == 200
    assert set(counts) <= {200, 429, 503}
    assert counts[200] >= LIMITS.waiting
    # Beyond the rate, but for those that have come in meanwhile.
    assert counts[429] >= 199 - limits.rate * (1 + (time.monotonic() - began) / 60)
