"""Model parts; importing them registers them."""

from .backbone import BiFPN, build_resnet_bifpn_backbone
from .charset_state import CharsetState
from .image_encoder import ImageEncoder
from .text_encoder import (
    TEXT_ENCODER_REGISTRY,
    CharacterTextEncoder,
    build_charset,
    build_text_encoder,
)
from .wecromcl import WeCromCL

__all__ = [
    "TEXT_ENCODER_REGISTRY",
    "BiFPN",
    "CharacterTextEncoder",
    "CharsetState",
    "ImageEncoder",
    "WeCromCL",
    "build_charset",
    "build_resnet_bifpn_backbone",
    "build_text_encoder",
]
