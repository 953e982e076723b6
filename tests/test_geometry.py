import json
from pathlib import Path

import pytest

from wecromcl_d2.geometry import polygon_center, polygon_vertices

CASES = Path(__file__).parent / "data" / "eval_cases" / "spts_point.json"
CENTERS = json.loads(CASES.read_text(encoding="utf-8"))["centres"]["values"]


@pytest.mark.parametrize(("polygon", "x", "y"), CENTERS)
def test_golden_centres(polygon, x, y):
    assert polygon_center(polygon) == pytest.approx([x, y], rel=0, abs=1e-9)


def test_triangle_takes_its_first_vertex_as_a_side():
    assert polygon_center([0, 0, 10, 0, 10, 20]) == pytest.approx([5, 5])


@pytest.mark.parametrize("polygon", [[], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], [[1, 2]] * 4])
def test_other_outlines_are_refused(polygon):
    with pytest.raises(ValueError, match="3 or more vertices"):
        polygon_vertices(polygon)
