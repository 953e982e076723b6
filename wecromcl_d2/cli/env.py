"""Print the versions and the machine, for a bug report.

    wecromcl env

Nothing is sent anywhere: read it before you paste it.
"""

import argparse
import os
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import torch
from detectron2.utils.collect_env import collect_env_info

from ..evaluation.report import package_version
from ..own_modules import VARIABLE
from .status import DONE, command, command_parser

# Modules that several distributions provide, of which one environment should have one.
SHARED = ("detectron2", "cv2")
VARIABLES = ("DETECTRON2_DATASETS", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", VARIABLE)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line, which has no options."""
    return command_parser("env", __doc__).parse_args(argv)


def facts() -> Iterator[tuple[str, str]]:
    """Names and values of what a report needs beside Detectron2's own table."""
    yield "wecromcl_d2", package_version()
    yield "Python", f"{platform.python_version()} on {platform.platform()}"
    providers = metadata.packages_distributions()
    for module in SHARED:
        names = sorted(set(providers.get(module, [])))
        found = [f"{name} {metadata.version(name)}" for name in names]
        yield module, ", ".join(found) or "from a folder, not installed"
    for line in metadata.requires("wecromcl_d2") or [] if _is_installed() else []:
        name = line.split(";")[0].strip()
        if "extra ==" not in line:
            bare = name.split("<")[0].split(">")[0].split("=")[0].strip()
            yield bare, _version(bare)
    yield "processor", processor()
    yield "threads", f"{torch.get_num_threads()} of torch, {os.cpu_count()} CPUs"
    for variable in VARIABLES:
        yield variable, os.environ.get(variable, "not set")


def _is_installed() -> bool:
    return _version("wecromcl_d2") != "not installed"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's model, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


@command("env")
def main(argv: Sequence[str] | None = None) -> int:
    """Print the report."""
    parse_args(argv)
    rows = list(facts())
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows))
    print(f"\n{collect_env_info()}")
    return DONE
