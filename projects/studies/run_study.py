#!/usr/bin/env python
"""Train every run of a grid and compare them: `projects.studies.command`, as a script."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    sys.exit(importlib.import_module("projects.studies.command").main(sys.argv[1:]))
