"""One path manager for local files, URLs and ``detectron2://`` names."""

from typing import Any

from iopath.common.file_io import HTTPURLHandler, OneDrivePathHandler, PathHandler  # noqa: F401
from iopath.common.file_io import PathManager as _PathManager

_URL = "https://dl.fbaipublicfiles.com/detectron2/"


class _Detectron2Handler(HTTPURLHandler):
    """Maps ``detectron2://name`` to the server of the published weights."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["detectron2://"]

    def _get_local_path(self, path: str, *args: Any, **kwargs: Any) -> str:
        return super()._get_local_path(_URL + path.split("://")[1], *args, **kwargs)


PathManager = _PathManager()
for _handler in (HTTPURLHandler(), OneDrivePathHandler(), _Detectron2Handler()):
    PathManager.register_handler(_handler)
