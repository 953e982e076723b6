"""Memory of a process that computes on a CPU: used again by the next step, in large pages."""

import ctypes
import os
import sys

# Parameters of glibc's mallopt, as in <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST = 2**31 - 1


def keep_memory() -> None:
    """Keep freed memory for the next step, and have torch ask for large pages.

    By default glibc returns large blocks to the system whenever they are freed, and the system
    zeroes every page of 4 kB that it hands out again: of a training step or an image, which need
    the same blocks over and over, this takes up to a quarter. The process then holds its peak
    of memory until it ends. Nothing happens on systems without glibc, or if the environment has
    settings of its own, `MALLOC_...` or `THP_MEM_ALLOC_ENABLE`.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, LARGEST)
    # Torch reads this when it allocates its first tensor on the CPU.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
