"""The page in a real browser: upload, find, read, review, and that nothing leaves the machine."""

import json
import os
import shutil
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

from tests.web.server import block_models, encoded, scene, served, write_scenes
from wecromcl_d2.web.limits import Limits
from wecromcl_d2.web.review import Review

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright, which steers the browser, is not installed"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
WORDS = {"hill": (16, 16), "street": (64, 56)}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        # Chromium refuses its sandbox to root, as whom containers run.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def address(shop, tmp_path_factory):
    review = Review(f"{shop}@{shop.parent / 'photos'}", Limits())
    with served(block_models(tmp_path_factory.mktemp("model")), review, Limits()) as bound:
        yield f"http://{bound[0]}:{bound[1]}/"


@pytest.fixture
def page(browser, address):
    """A page; at the end it must have asked nobody else, and have had no error."""
    opened = browser.new_page(viewport={"width": 1100, "height": 760})
    asked, errors = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda m: errors.append(m.text) if "Content Security" in m.text else None)
    yield opened
    opened.close()
    other = [url for url in asked if urlsplit(url).scheme not in ("blob", "data")]
    assert all(url.startswith(address) for url in other)
    assert asked and not errors


def upload(page, tab, *files):
    with page.expect_file_chooser() as chooser:
        page.locator(f"#{tab} [data-choose]:visible").first.click()
    chooser.value.set_files(list(files))


def photograph(name="scene.png", border=0):
    pixels = np.pad(scene(WORDS), ((0, border), (0, border), (0, 0)))
    return {"name": name, "mimeType": "image/png", "buffer": encoded(pixels)}


def test_find_shows_a_card_with_map_and_similarity_for_each_word(page, address):
    page.goto(address + "#find")
    upload(page, "find", photograph())
    page.fill("#find-words", "street, hill nowhere")
    page.keyboard.press("Enter")
    page.wait_for_selector("#find-cards .card:nth-child(4)")
    cards = page.locator("#find-cards .card").all_inner_texts()
    assert cards[0] == "All words at once"
    assert [card.split("\n")[0] for card in cards[1:]] == ["street", "hill", "nowhere"]
    assert "similarity 1.00" in cards[1] and "no place left" in cards[3]
    page.locator("#find-cards .card").nth(1).click()
    page.wait_for_function("document.querySelectorAll('.card')[1].ariaPressed === 'true'")
    page.wait_for_timeout(1500)  # the map fades in
    assert glowing(page, (88, 60)) > glowing(page, (32, 20)) + 60


def glowing(page, point):
    """Red of the drawing a little beside a point of the image, which fills the stage's width."""
    script = """([x, y]) => {
        const canvas = document.querySelector('#find canvas'), { width, height } = canvas;
        const scale = Math.min(width / 160, height / 96);
        const [left, top] = [(width - 160 * scale) / 2, (height - 96 * scale) / 2];
        const at = [left + x * scale + 20, top + y * scale + 2].map(Math.round);
        return canvas.getContext('2d').getImageData(...at, 1, 1).data[0];
    }"""
    return page.evaluate(script, list(point))


def test_read_lists_the_words_and_gives_them_as_json(page, address):
    page.goto(address + "#read")
    # A browser takes longer to open the first: it still comes first.
    upload(page, "read", photograph("one.png", border=4000), photograph("two.png"))
    page.wait_for_selector("#read-list li:nth-child(2)")
    page.wait_for_selector("#read-strip button:nth-child(2)")
    assert sorted(page.locator("#read-list .name").all_inner_texts()) == ["hill", "street"]
    page.locator("#read-strip button").nth(1).click()
    page.wait_for_selector("#read-list li:nth-child(2)")
    with page.expect_download() as download:
        page.click("#read-json")
    with open(download.value.path(), encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    assert [record["file_name"] for record in records] == ["one.png", "two.png"]
    assert sorted(records[0]["texts"]) == ["hill", "street"]


def test_a_wrong_file_is_answered_with_a_sentence(page, address):
    page.goto(address + "#read")
    upload(page, "read", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    page.wait_for_selector("#toast:visible")
    assert "a.png is no photograph" in page.inner_text("#toast")


def test_review_moves_marks_and_undoes_and_each_step_is_saved(page, address, shop):
    def saved():
        return [json.loads(line) for line in shop.read_text(encoding="utf-8").splitlines()]

    before = saved()
    page.goto(address + "#review")
    page.wait_for_selector("#review-bar:visible")
    first = page.locator("#review-list li").first
    assert first.inner_text().split("\n") == ["street", "0.20", "a.png"]
    box = page.locator("#review canvas").bounding_box()
    scale = min(box["width"] / 160, box["height"] / 96)
    left = box["x"] + (box["width"] - 160 * scale) / 2
    top = box["y"] + (box["height"] - 96 * scale) / 2
    page.mouse.click(left + 88 * scale, top + 60 * scale)
    page.wait_for_selector("#review-list li:first-child.done")
    assert saved()[0]["points"][1] == pytest.approx([88, 60], abs=1)
    page.keyboard.press("Enter")  # goes on, without a step that would have to be undone
    page.wait_for_selector("#review-list li:nth-child(2) [aria-pressed=true]")
    page.keyboard.press("x")
    page.wait_for_selector("#review-list li:nth-child(2).absent")
    assert saved()[1]["ignore"] == [False, True]
    page.keyboard.press("z")
    page.wait_for_selector("#review-list li:nth-child(2):not(.absent)")
    page.keyboard.press("z")
    page.wait_for_selector("#review-list li:first-child:not(.done)")
    assert saved() == before
