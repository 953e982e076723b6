"""The pages and grids of the studies name what exists, and every grid can be run."""

import re
from pathlib import Path

import pytest

from projects.studies.grid import read_grid
from tests.test_pages import CHECKS, wrong_files

PROJECT = Path(__file__).resolve().parents[2] / "projects" / "studies"
ROOT = PROJECT.parents[1]
GRIDS = sorted((PROJECT / "grids").glob("*.yaml"))
README = (PROJECT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_grid_can_be_run(path):
    runs = read_grid(path, seeds=[0]).runs
    assert len({run.name for run in runs}) == len(runs) > 1


def test_the_readme_names_what_exists():
    assert not [*wrong_files(README, PROJECT)]
    assert not [name for check in CHECKS if check is not wrong_files for name in check(README)]


def test_the_grid_of_the_readme_can_be_run(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "layers.yaml"
    path.write_text(block, encoding="utf-8")
    assert [run.name for run in read_grid(path, seeds=[0]).runs] == [
        "one_layer-seed0",
        "two_layers-seed0",
    ]


def test_every_grid_is_in_the_list_of_questions():
    page = (ROOT / "docs" / "STUDIES.md").read_text(encoding="utf-8")
    assert [path.stem for path in GRIDS if f"`{path.stem}`" not in page] == []
