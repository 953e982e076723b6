#!/usr/bin/env python
"""Train or evaluate what a config describes: `wecromcl train`, where users look for it."""

import sys

from wecromcl_d2.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
