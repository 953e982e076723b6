"""Network modules of both stages; importing them registers the backbone."""

from .backbone import BiFPN, build_resnet_bifpn_backbone
from .charset_state import CharsetState
from .image_encoder import ImageEncoder

__all__ = ["BiFPN", "CharsetState", "ImageEncoder", "build_resnet_bifpn_backbone"]
