"""What this project relies on in Detectron2, tested on whichever package provides it.

The same tests run on Detectron2 itself and on the slim package. Expected values come from
Detectron2; files under ``tests/data/detectron2`` were written by `make_fixtures` under the
package that their names tell.
"""

from pathlib import Path

import detectron2
import pytest

DATA = Path(__file__).parent.parent / "data" / "detectron2"
IS_SLIM = "+slim" in detectron2.__version__
FLAVOURS = ("real", "slim")

slim_only = pytest.mark.skipif(not IS_SLIM, reason="about the slim package itself")
