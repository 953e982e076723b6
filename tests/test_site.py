"""The site of `make docs`: its links, its reference, and, where mkdocs is installed, its build."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.scripts import load_script

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("mkdocs", "material", "mkdocstrings_handlers")


@pytest.fixture(scope="module")
def site_pages():
    return load_script("tools/site_pages.py")


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("README.md", "[a](docs/INSTALL.md#in-short)", "[a](INSTALL.md#in-short)"),
        ("README.md", "![a](docs/images/words.jpg)", "![a](images/words.jpg)"),
        ("README.md", "[a](LICENSE)", "a"),
        ("docs/INSTALL.md", "[a](../projects/detectron2_slim)", "a"),
        ("docs/INSTALL.md", "[a](../README.md)", "[a](index.md)"),
        ("docs/INSTALL.md", "[a](DATASETS.md)", "[a](DATASETS.md)"),
        ("docs/INSTALL.md", "[a](NOWHERE.md)", "[a](NOWHERE.md)"),  # for mkdocs to refuse
        ("docs/INSTALL.md", "[a](#here)", "[a](#here)"),
        ("docs/INSTALL.md", "[a](https://a.example/b)", "[a](https://a.example/b)"),
    ],
)
def test_links_lead_to_pages_of_the_site(site_pages, page, link, there):
    assert site_pages.site_links(link, page) == there


def test_the_reference_has_every_public_module(site_pages):
    named = set(re.findall(r"^::: (.+)$", "\n".join(site_pages.reference_pages().values()), re.M))
    files = (ROOT / "wecromcl_d2").rglob("*.py")
    modules = {".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files}
    assert named == {name for name in modules if not name.rpartition(".")[2].startswith("_")}


class Addresses(HTMLParser):
    """What a page loads by itself: scripts, styles, fonts, images."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("script", "img"):
            self.found.add(given.get("src") or "")
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.found.add(given.get("href") or "")


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED),
    reason="the extra `docs` is not installed",
)
def test_the_site_builds_without_dead_links_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "AnchorFinder" in (tmp_path / "reference/wecromcl_d2.predictor.html").read_text("utf-8")
    loaded = Addresses()
    for page in tmp_path.rglob("*.html"):
        loaded.feed(page.read_text(encoding="utf-8"))
    assert not [name for name in loaded.found if "//" in name]
