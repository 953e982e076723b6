"""One path manager for local files, URLs and ``detectron2://`` names."""

from typing import IO, Any

from iopath.common.file_io import HTTPURLHandler, OneDrivePathHandler, PathHandler
from iopath.common.file_io import PathManager as _PathManager

__all__ = ["PathHandler", "PathManager"]

PathManager = _PathManager()


class _Detectron2Handler(PathHandler):
    """Map ``detectron2://name`` to the server of the published weights."""

    PREFIX = "detectron2://"
    URL = "https://dl.fbaipublicfiles.com/detectron2/"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        url = self.URL + path.removeprefix(self.PREFIX)
        return PathManager.get_local_path(url, force=force, **kwargs)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        return PathManager.open(self.URL + path.removeprefix(self.PREFIX), mode, **kwargs)


for _handler in (HTTPURLHandler(), OneDrivePathHandler(), _Detectron2Handler()):
    PathManager.register_handler(_handler)
