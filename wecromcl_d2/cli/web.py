"""Serve a page that reads photographs, finds words in them, and reviews the points of labels.

    wecromcl web
    wecromcl web --model quick --labels shop/anchors.jsonl@photos
    wecromcl web --finder shop/model/anchors/config.yaml shop/model/anchors/model_final.pth

The page is served to this computer alone, unless --host says otherwise, and loads nothing from
elsewhere. NAME of --model stands for the spotter NAME and the anchor detector NAME-anchors; what
there is of the two is used. Needs Starlette and uvicorn, the extra "web".
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..predictor import AnchorFinder, Spotter
from ..predictor.base import Predictor, check_device
from ..predictor.registry import DEFAULT_MODELS
from .status import DONE, check_max_side, command, command_parser

if TYPE_CHECKING:
    from ..web.models import Models

P = TypeVar("P", bound=Predictor)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("web", __doc__)
    model = parser.add_argument_group("models")
    pair = ("CONFIG", "WEIGHTS")
    model.add_argument(
        "--model", metavar="NAME", help=f"a trained pair ({DEFAULT_MODELS['spotting']})"
    )
    model.add_argument("--spotter", nargs=2, metavar=pair, help="files of another spotter")
    model.add_argument("--finder", nargs=2, metavar=pair, help="files of another anchor detector")
    model.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    model.add_argument(
        "--max-side", type=int, metavar="PIXELS", help="longest side that the models see"
    )
    parser.add_argument(
        "--labels", metavar="LABELS", help="label file to review, or FILE@IMAGE_ROOT"
    )
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    server.add_argument("--port", type=int, default=8017, help="(%(default)s); 0 for any free one")
    args = parser.parse_args(argv)
    if not 0 <= args.port <= 65535:
        parser.error(f"--port is {args.port}; give a number from 0 to 65535")
    check_max_side(parser, args)
    return args


def load_models(args: argparse.Namespace) -> Models:
    """The models of a command line; one that there is not is left out with the reason.

    Raises:
        FileNotFoundError: if a model that was named, or all that the page could show, is absent.
        ValueError: for an unknown name or a config of the other stage.
    """
    from ..web.models import Models

    if args.device is not None:
        check_device(args.device)
    missing: dict[str, str] = {}

    def load(task: str, kind: type[P], files: Sequence[str] | None, name: str) -> P | None:
        options = {"device": args.device, "max_side": args.max_side}
        if files:
            return kind(*files, **options)
        try:
            return kind.from_name(name, **options)
        except (FileNotFoundError, ValueError) as error:
            missing[task] = str(error)
            return None

    names = (DEFAULT_MODELS["spotting"], DEFAULT_MODELS["anchors"])
    if args.model:
        names = (args.model, f"{args.model}-anchors")
    spotter = load("read", Spotter, args.spotter, names[0])
    finder = load("find", AnchorFinder, args.finder, names[1])
    nothing_else = not args.labels and not args.spotter and not args.finder
    if spotter is None and finder is None and (args.model or nothing_else):
        raise FileNotFoundError("; ".join(missing.values()))
    return Models(spotter, finder, missing)


@command("web")
def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; returns the exit status."""
    args = parse_args(argv)
    absent = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if absent:
        raise ValueError(f"needs {' and '.join(absent)}: pip install {' '.join(absent)}")
    serve(args, lambda url: print(f"{url}  (Ctrl-C ends it)", flush=True))
    return DONE


def serve(args: argparse.Namespace, started: Callable[[str], None]) -> None:
    """Serve the page until it is interrupted.

    Args:
        args: the parsed command line.
        started: told the page's address.

    Raises:
        OSError: if the address is taken.
    """
    from ..web.guard import hosts_of, is_loopback
    from ..web.limits import Limits
    from ..web.review import Review
    from ..web.run import listen, run
    from ..web.server import build_app

    limits = Limits()
    models = load_models(args)
    review = Review(args.labels, limits) if args.labels else None
    if not is_loopback(args.host):
        print(
            f"wecromcl web: whoever reaches {args.host} can use this page, its review too; there "
            "is no password",
            file=sys.stderr,
        )
    for task, reason in models.missing.items():
        print(f"wecromcl web: without {task!r}: {reason}", file=sys.stderr)
    socket = listen(args.host, args.port)
    name = f"[{args.host}]" if ":" in args.host else args.host
    started(f"http://{name}:{socket.getsockname()[1]}/")
    run(build_app(models, review, limits, hosts_of(args.host)), socket)
