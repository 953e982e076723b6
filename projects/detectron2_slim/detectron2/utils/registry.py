"""Names that config files may choose from."""

from fvcore.common.registry import Registry

__all__ = ["Registry"]
