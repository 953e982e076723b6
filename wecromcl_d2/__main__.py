"""The command line: `wecromcl COMMAND`, or `python -m wecromcl_d2 COMMAND`."""

import difflib
import importlib
import sys
from collections.abc import Sequence

from . import __version__
from .cli.status import DONE, INTERRUPTED, WRONG_COMMAND

# Modules of `wecromcl_d2.cli`; only the one that runs is imported, as torch takes seconds.
COMMANDS = {
    "train": "train or evaluate an anchor detector or a spotter, as train_net.py does",
    "evaluate": "score predictions from files alone",
    "prepare": "convert a published benchmark, or a table of words, to label files",
    "labels": "make label files from photographs and their words, as you have them",
    "render": "render scenes with words into a folder, or a preview of them",
    "anchors": "find the anchors of a dataset's words and write them as labels",
    "export": "write labels for COCO, Label Studio, FiftyOne, as CSV or in ICDAR's style",
    "import": "read corrected labels back from Label Studio or COCO keypoints",
    "export-model": "write a trained model as ONNX or TorchScript graphs",
    "pipeline": "from images and their words to a trained spotter, measured and drawn",
    "reproduce": "the published figures, from downloads to a table",
    "visualize": "draw anchors, words read, labels, or results and the worst images",
    "convert": "convert published weights or a plain backbone to ours, or ours back",
    "benchmark": "measure speed and memory of training and inference",
    "stress": "measure a spotter on words that are hard in one way each",
    "read": "find and read the words of images with a spotter",
    "find": "find given words in images with an anchor detector",
    "web": "a page in the browser: read, find words, review the points of labels",
    "env": "print the versions and the machine, for a bug report",
}
EPILOG = """\
`wecromcl COMMAND --help` explains a command. Exit statuses: 0 done, 1 done with losses,
2 wrong command, 130 interrupted."""


def help_text() -> str:
    """Usage and the table of commands."""
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {line}" for name, line in COMMANDS.items())
    return "\n".join(
        ["usage: wecromcl COMMAND ...", "", "commands:", *lines, "", EPILOG],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(help_text())
        return DONE
    name, *rest = arguments
    if name == "--version":
        print(f"wecromcl_d2 {__version__}")
        return DONE
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "`wecromcl --help` lists them all"
        print(f"wecromcl: there is no command {name!r}; {hint}", file=sys.stderr)
        return WRONG_COMMAND
    module = name.replace("-", "_")
    try:
        return importlib.import_module(f".cli.{module}", __package__).main(rest)
    except KeyboardInterrupt:  # during the import; a command handles its own
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
