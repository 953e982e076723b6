"""The files around the code agree with it and with each other."""

import re
from pathlib import Path
from typing import Any

import yaml

from wecromcl_d2 import __version__
from wecromcl_d2.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parent.parent


def load(name: str) -> Any:
    """The content of a YAML file of the project."""
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_citation_and_changes_name_the_version() -> None:
    citation = load("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == __version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d.*)$", changes, re.MULTILINE)[0] == __version__


def test_citation_and_readme_cite_the_same_paper() -> None:
    paper = load("CITATION.cff")["preferred-citation"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{paper['title']}}}" in readme
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in readme
    assert f"year = {{{paper['year']}}}" in readme


def test_the_issue_form_asks_for_the_report_of_a_command_that_there_is() -> None:
    form = load(".github/ISSUE_TEMPLATE/bug.yml")
    asked = [field["attributes"]["label"] for field in form["body"] if field["type"] != "markdown"]
    (label,) = [label for label in asked if "wecromcl" in label]
    assert label == "Output of `wecromcl env`" and "env" in COMMANDS
    identities = [field["id"] for field in form["body"]]
    assert len(set(identities)) == len(identities)
