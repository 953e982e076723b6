"""Time, floating-point operations and memory traffic of the parts of a run, for `benchmark`.

FLOP are those of matrix products and convolutions; a multiplication and an addition are two. Bytes
are counted for every operation: the tensors that it reads and those that it writes, each once,
in a cache or not. Views count nothing. A table is counted as a whole, even if only some of its rows
are looked up; temporary memory inside an operation is not counted.
"""

import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
# What PyTorch counts, and its fused attention on a CPU, which it counts on a GPU alone.
FLOP_COUNTS = flop_registry | {
    aten._scaled_dot_product_flash_attention_for_cpu: (
        flop_registry[aten._scaled_dot_product_flash_attention]
    ),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        flop_registry[aten._scaled_dot_product_flash_attention_backward]
    ),
}
# Operations that allocate memory without writing it, and those that write without reading.
UNWRITTEN = ("aten::empty", "aten::new_empty")
UNREAD = ("aten::copy_", "aten::fill_", "aten::zero_", "aten::bernoulli_")


class WorkCounter(TorchDispatchMode):
    """While active, counts FLOP and bytes of all operations of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.flop = self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        """Run one operation, decomposed into others if PyTorch can."""
        kwargs = kwargs or {}
        count = FLOP_COUNTS.get(func.overloadpacket)
        if count is None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if count is not None:
            self.flop += count(*args, **kwargs, out_val=result)
        self.bytes += moved_bytes(func, args, kwargs, result)
        return result


def moved_bytes(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    """Bytes that an operation reads and writes, each tensor once; none for a view."""
    read, written = [], []
    for index, argument in enumerate(func._schema.arguments):
        value = args[index] if index < len(args) else kwargs.get(argument.name)
        changed = argument.alias_info is not None and argument.alias_info.is_write
        if changed:
            written += tensors_of(value)
        if not changed or not (argument.is_out or func._schema.name.startswith(UNREAD)):
            read += tensors_of(value)
    known = {x.untyped_storage().data_ptr() for x in (*read, *written)}
    if not func._schema.name.startswith(UNWRITTEN):
        written += [x for x in tensors_of(result) if x.untyped_storage().data_ptr() not in known]
    if not written:
        return 0
    return sum(size_of(x) for x in (*{id(x): x for x in read}.values(), *written))


def size_of(x: torch.Tensor) -> int:
    """Bytes of a tensor in memory; expanded dimensions count once."""
    own = (length for length, step in zip(x.shape, x.stride(), strict=True) if step)
    return x.element_size() * math.prod(own)


def tensors_of(values: Any) -> list[torch.Tensor]:
    """All tensors in nested `values`; for a sparse matrix its component tensors."""
    tensors = []
    for x in tree_leaves(values):
        if isinstance(x, torch.Tensor):
            sparse = x.layout == torch.sparse_csr
            tensors += [x.crow_indices(), x.col_indices(), x.values()] if sparse else [x]
    return tensors


def peak_memory(device: str) -> int:
    """Peak memory of this process so far, in MB: of the GPU, or resident."""
    if device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated() / 1e6)
    status = Path("/proc/self/status")
    if status.is_file():
        # `ru_maxrss` below may include the memory of the parent process; VmHWM does not.
        lines = dict(x.split(":", 1) for x in status.read_text(encoding="utf-8").splitlines())
        return round(int(lines["VmHWM"].split()[0]) * 1024 / 1e6)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


class PartProfiler:
    """Wall time and CPU time by part and run, and the work of each part.

    Args:
        device: "cpu" or "cuda"; a GPU is synchronised before the time is read.
    """

    def __init__(self, device: str):
        self.on_gpu = device.startswith("cuda")
        self.seconds: dict[str, list[tuple[float, ...]]] = {}
        self.work: dict[str, tuple[float, ...]] = {}
        self._counter = WorkCounter()
        self._run: dict[str, tuple[float, ...]] = {}

    def now(self) -> tuple[float, ...]:
        """Wall time and CPU time after synchronisation; FLOP and bytes so far."""
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time(), self._counter.flop, self._counter.bytes

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add time and work of a block to a part of the current run."""
        start = self.now()
        yield
        before = self._run.get(name, (0,) * len(start))
        self._run[name] = tuple(
            b + n - s for b, n, s in zip(before, self.now(), start, strict=True)
        )

    def watch(self, model: nn.Module, names: Sequence[str]) -> None:
        """Measure the forward passes of these sub-modules as parts."""
        for name in names:
            blocks: list[Any] = []

            def enter(*_: Any, name: str = name, blocks: list = blocks) -> None:
                blocks.append(self.part(name))
                blocks[-1].__enter__()

            def leave(*_: Any, blocks: list = blocks) -> None:
                blocks.pop().__exit__(None, None, None)

            module = model.get_submodule(name)
            module.register_forward_pre_hook(enter)
            module.register_forward_hook(leave)

    def repeat(self, run: Callable[[], object], warmup: int, repeat: int, name: str) -> None:
        """Run a function repeatedly and store the times of the runs after the warm-up."""
        for index in range(warmup + repeat):
            for key, numbers in self._run_once(run, name).items():
                if index >= warmup:
                    self.seconds.setdefault(key, []).append(numbers[:2])

    def count(self, run: Callable[[], object], name: str, compiled: bool) -> None:
        """Store FLOP and bytes of one more run, uncompiled, as compiled parts cannot be counted."""
        eager = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
        with eager, self._counter:
            self.work |= {key: x[2:] for key, x in self._run_once(run, name).items()}

    def _run_once(self, run: Callable[[], object], name: str) -> dict[str, tuple[float, ...]]:
        self._run = {}
        with self.part(name):
            run()
        return {x if x == name else f"{name}: {x}": numbers for x, numbers in self._run.items()}
