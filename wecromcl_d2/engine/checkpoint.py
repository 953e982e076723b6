"""Atomic writing of checkpoints."""

import os
from typing import Any

import torch

from ..files import replace_file
from .loading import CheckedCheckpointer


class CheckpointError(OSError):
    """A checkpoint could not be written; earlier ones are untouched."""


class AtomicCheckpointer(CheckedCheckpointer):
    """A checkpointer that writes atomically.

    Files, `last_checkpoint` included, are written under a temporary name, flushed to the disk and
    renamed, so that a process killed at any moment leaves the previous state intact.

    Args:
        model: module whose weights are saved.
        save_dir: folder of the checkpoints.
        tag_last: write the name of each saved file into `last_checkpoint`, from which a run
            resumes.
        partial: see `CheckedCheckpointer`.
        **checkpointables: other objects with `state_dict` and `load_state_dict`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        save_dir: str = "",
        *,
        tag_last: bool = True,
        partial: bool = False,
        **checkpointables: Any,
    ):
        super().__init__(model, save_dir, partial=partial, **checkpointables)
        self.tag_last = tag_last

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `<save_dir>/<name>.pth`.

        Args:
            name: of the file, without ending.
            **kwargs: further content: tensors, numbers, strings, lists and dicts.

        Raises:
            CheckpointError: if the file cannot be written, for example on a full disk.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data |= {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        try:
            with replace_file(path) as file:
                torch.save(data | kwargs, file)
            if self.tag_last:
                self.tag_last_checkpoint(f"{name}.pth")
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"cannot write {path}: {error}; earlier checkpoints are intact, so free some space "
                "and continue with --resume"
            ) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Let a resumed run start from this file of `save_dir`."""
        with replace_file(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())
