"""Package `wecromcl_d2`: no compiled code, the configs travel inside the wheel.

Detectron2 is not among the requirements: it is installed from source, or replaced by
`projects/detectron2_slim`, and a requirement could make pip exchange one for the other.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """Version of the package, read from its text so that building needs none of its imports."""
    text = (ROOT / "wecromcl_d2" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('wecromcl_d2/__init__.py has no line __version__ = "..."')
    return match.group(1)


setup(
    name="wecromcl_d2",
    version=read_version(),
    description="WeCromCL for Detectron2: text spotting learned from transcriptions alone",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=[*find_packages(include=["wecromcl_d2", "wecromcl_d2.*"]), "wecromcl_d2.configs"],
    package_dir={"wecromcl_d2.configs": "configs"},
    package_data={
        "wecromcl_d2": ["py.typed", "models/*/*", "web/static/*"],
        "wecromcl_d2.configs": ["**/*.yaml"],
    },
    entry_points={"console_scripts": ["wecromcl = wecromcl_d2.__main__:main"]},
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.4",
        "fvcore>=0.1.5,<0.1.6",  # Detectron2's own bounds, here and in the next line
        "iopath>=0.1.7,<0.1.10",
        "matplotlib>=3.7",  # its fonts draw the synthetic words
        "numpy>=1.24",
        # Of OpenCV's four distributions, which all own the folder cv2, this is the one most
        # environments hold. A second one would overwrite the first without a word; a machine
        # without display libraries needs the headless one, see docs/INSTALL.md.
        "opencv-python>=4.6",
        "Pillow>=9.4",
        "pycocotools>=2.0.6",
        "rapidfuzz>=3.0",  # edit distances
        "scipy>=1.10",  # the assignment of anchors to words
        "shapely>=2.0",
        "tabulate>=0.9",
        "tensorboard>=2.12",
        "tqdm>=4.60",
    ],
    extras_require={
        "dev": [
            "hypothesis>=6.80",
            "mypy>=1.8",
            "pytest>=8.2",
            "pytest-xdist>=3.5",
            "ruff>=0.6",
            "starlette>=0.37",  # for the tests of the page
            "uvicorn>=0.29",
        ],
        # The page of `wecromcl web`.
        "web": ["starlette>=0.37", "uvicorn>=0.29"],
        # The same page's tests in a browser, Chromium.
        "browser": ["playwright>=1.40"],
        # The site, `make docs`.
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26"],
        # `wecromcl export-model --format onnx`, and what runs its graphs.
        "export": ["onnx>=1.16", "onnxruntime>=1.17"],
        # Checks in the tests what `wecromcl export` writes.
        "exchange": ["label-studio-sdk>=1.0"],
        "ray": ["ray>=2.9"],  # `wecromcl anchors --engine ray`
    },
)
