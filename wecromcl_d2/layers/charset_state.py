"""The alphabet of a model's labels, stored in its checkpoints."""

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..data.text import Charset, CharsetError

# Most characters that an error names, for each side of the comparison.
MOST_NAMED = 12


class CharsetState(nn.Module):
    """Module without weights that refuses checkpoints of another alphabet.

    Labels are positions in the alphabet, so weights of another one would load without an error and
    give wrong texts. A checkpoint without this buffer, as the published ones are, is not checked.

        self.charset_state = CharsetState(charset)
    """

    code_points: Tensor

    def __init__(self, charset: Charset):
        super().__init__()
        codes = [int(charset.case_fold), *map(ord, charset.characters)]
        self.register_buffer("code_points", torch.tensor(codes, dtype=torch.int32))

    def check(self, stored: Tensor) -> None:
        """Compare with the alphabet of a checkpoint.

        Args:
            stored: `code_points` of the checkpoint: whether case is folded, then the characters.

        Raises:
            CharsetError: naming the characters that differ.
        """
        is_sound = stored.dim() == 1 and len(stored) > 1 and stored.dtype == torch.int32
        if not is_sound or stored.min() < 0 or stored.max() > sys.maxunicode:
            raise CharsetError("the alphabet in the checkpoint is damaged")
        problem = describe_difference(stored.tolist(), self.code_points.tolist())
        if problem:
            raise CharsetError(
                f"the checkpoint was trained with another alphabet: {problem}; set "
                "MODEL.TEXT_ENCODER.CHARSET and CASE_FOLD as they were in its training"
            )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.get(f"{prefix}code_points")
        if stored is not None:
            self.check(stored)


def check_charsets(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Compare the alphabets of a model with those of a checkpoint before anything is loaded.

    Needed because Detectron2 skips tensors whose shape differs, so that `CharsetState` would never
    get an alphabet of another length.

    Args:
        model: any model, with any number of `CharsetState` modules.
        state: weights by name.

    Raises:
        CharsetError: naming the characters that differ.
    """
    for name, module in model.named_modules():
        if isinstance(module, CharsetState):
            stored = state.get(f"{name}.code_points")
            if stored is not None:
                module.check(torch.as_tensor(stored))


def describe_difference(stored: list[int], own: list[int]) -> str:
    """The difference of two alphabets, both given as `code_points`; empty if there is none."""
    if stored == own:
        return ""
    parts = []
    for title, some, others in (
        ("only the checkpoint has", stored[1:], own[1:]),
        ("only the config has", own[1:], stored[1:]),
    ):
        missing = [code for code in some if code not in set(others)]
        if missing:
            named = ", ".join(f"{chr(code)!a} (U+{code:04X})" for code in missing[:MOST_NAMED])
            rest = len(missing) - MOST_NAMED
            parts.append(f"{title} {named}" + (f" and {rest} more" if rest > 0 else ""))
    if not parts and stored[1:] != own[1:]:
        places = zip(stored[1:], own[1:], strict=True)
        label, (theirs, ours) = next((i, p) for i, p in enumerate(places, 1) if p[0] != p[1])
        parts.append(f"the order: label {label} is {chr(theirs)!a} there and {chr(ours)!a} here")
    if stored[0] != own[0]:
        parts.append("it folds case" if stored[0] else "it does not fold case")
    return "; ".join(parts)
