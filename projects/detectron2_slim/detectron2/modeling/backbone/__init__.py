"""Networks that turn images into feature maps."""

# ruff: noqa: F401
from .backbone import BACKBONE_REGISTRY, Backbone, build_backbone
from .resnet import BasicStem, BottleneckBlock, ResNet, build_resnet_backbone
