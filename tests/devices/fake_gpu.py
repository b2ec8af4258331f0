"""A GPU without a GPU: tensors without values that say they lie on ``cuda``, and complain as a GPU would.

torch's fake tensors know shape, type and device, and refuse to mix devices. On top of that this mode refuses what makes
the host wait for a GPU: reading a value, copying back, masks as indices. What stays on the host is real and computed.

It cannot see a generator on the wrong device, nor ``torch.tensor(values, device=...)``, which copies at once.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
GPU = torch.device("cuda", 0)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
UNKNOWN = (aten._fused_sgd_.default,)
"""Operations in place that torch has no fake version of."""


class Waits(AssertionError):
    """The host would wait for the device here."""


class FakeGPU(FakeTensorMode):
    """Within it, ``device="cuda"`` makes fake tensors; operations on real ones stay what they are.

    Args:
        allowed: waits with a reason: ``(file, function)`` of the code that may read a value, and the value it reads.
    """

    def __init__(self, allowed: Mapping[tuple[str, str], float] | None = None) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.allowed = dict(allowed or {})
        self.read: set[tuple[str, str]] = set()
        self.unpinned: set[tuple[str, tuple[int, ...]]] = set()

    avoid_device_init = property(lambda self: True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if not any(isinstance(leaf, FakeTensor) or (isinstance(leaf, torch.device) and leaf == GPU) for leaf in leaves):
            return func(*args, **kwargs)
        if func in UNKNOWN:
            assert all(leaf.device == GPU for leaf in leaves if isinstance(leaf, Tensor))
            return None
        if func is aten._local_scalar_dense.default:
            return torch.tensor(self._allowed("a value is read"), dtype=args[0].dtype).item()
        if func is aten._to_copy.default and args[0].device == GPU and torch.device(kwargs.get("device", GPU)) != GPU:
            value = self._allowed("a copy back to the host")
            return torch.full(args[0].shape, value, dtype=kwargs.get("dtype") or args[0].dtype)
        if func in (aten._to_copy.default, aten.copy_.default):
            self._copied(func, args, kwargs)
        elif func in INDEXED:
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) and index.device == GPU for index in indices):
                raise Waits(f"a mask as an index {_where()}")
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _allowed(self, what: str) -> float:
        for frame in traceback.extract_stack():
            for file, function in self.allowed:
                if frame.filename.endswith(file) and frame.name == function:
                    self.read.add((file, function))
                    return self.allowed[file, function]
        raise Waits(f"{what} {_where()}")

    def _copied(self, func: Any, args: Any, kwargs: Any) -> None:
        into_new = func is aten._to_copy.default
        source = args[0] if into_new else args[1]
        target = torch.device(kwargs.get("device") or source.device) if into_new else args[0].device
        if source.device == GPU and target.type == "cpu":
            raise Waits(f"a copy back to the host {_where()}")
        pageable = source.device.type == "cpu" and not getattr(source, "pinned", False)
        if pageable and target == GPU and source.numel() > 1:
            self.unpinned.add((_where(), tuple(source.shape)))


def _where() -> str:
    frames = [f for f in traceback.extract_stack() if "/unlabeled/" in f.filename and "/tests/" not in f.filename]
    return f"in {frames[-1].filename.rpartition('/unlabeled/')[2]}:{frames[-1].lineno}" if frames else "in the test"


def _pinned(tensor: Tensor, *_: object) -> Tensor:
    copy: Any = tensor.clone()
    copy.pinned = True
    return copy


@contextmanager
def fake_gpu(allowed: Mapping[tuple[str, str], float] | None = None) -> Iterator[FakeGPU]:
    """A GPU that can do everything but compute."""
    with (
        mock.patch("torch._subclasses.fake_tensor.init_gpu_context", create=True),
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.is_bf16_supported", return_value=True),
        mock.patch.object(Tensor, "pin_memory", _pinned),
        mock.patch.object(nn.Module, "to", _to),
        mock.patch.object(torch.autograd, "backward", backward),
        mock.patch.object(torch.autograd, "grad", gradients),
        FakeGPU(allowed) as gpu,
    ):
        yield gpu


def _to(module: nn.Module, *place: Any, **more: Any) -> nn.Module:
    """``module.to`` cannot put a fake tensor in a real one's place; a memory format is no matter of devices."""
    device = next((torch.device(at) for at in (*place, *more.values()) if isinstance(at, str | torch.device)), None)
    assert device in (None, GPU), f"a module goes back to {device} {_where()}"
    return module if device is None else moved(module)


def moved(module: nn.Module) -> nn.Module:
    """Give every parameter and buffer of ``module`` a fake one on the GPU in its place, of the same layout."""
    made: dict[int, Tensor] = {}

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            new = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=GPU)
            made[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        return made[id(tensor)]

    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = fake(tensor)
    return module


@torch.no_grad()
def backward(loss: Tensor) -> None:
    """Walk the graph in Python: the engine of torch asks a driver for its streams, which is not there."""
    waiting: dict[Any, int] = {}
    seen, todo = {loss.grad_fn}, [loss.grad_fn]
    while todo:
        for following, _ in todo.pop().next_functions:
            if following is not None:
                waiting[following] = waiting.get(following, 0) + 1
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
    arrived: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    ready: list[Any] = [loss.grad_fn]
    while ready:
        node = ready.pop()
        gradients = arrived.pop(node, {})
        if hasattr(node, "variable"):  # a leaf
            if gradients:
                _accumulate(node.variable, gradients[0])
            continue
        outputs: Any = (None,) * len(node.next_functions)
        if gradients:
            outputs = node(*[gradients.get(i) for i in range(len(node._input_metadata))])
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for (following, slot), gradient in zip(node.next_functions, outputs, strict=False):
            if following is None:
                continue
            if gradient is not None:
                gradient = _fitting(following, slot, gradient)
                known = arrived.setdefault(following, {})
                known[slot] = known[slot] + gradient if slot in known else gradient
            waiting[following] -= 1
            if not waiting[following]:
                ready.append(following)


def gradients(outputs: Tensor, inputs: Any, **_: Any) -> tuple[Tensor | None, ...]:
    """``torch.autograd.grad`` of leaves."""
    leaves = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    before = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    backward(outputs)
    found = tuple(leaf.grad for leaf in leaves)
    for leaf, gradient in zip(leaves, before, strict=True):
        leaf.grad = gradient
    return found


def _fitting(node: Any, slot: int, gradient: Tensor) -> Tensor:
    wanted = node.variable if hasattr(node, "variable") else node._input_metadata[slot]
    assert gradient.device == wanted.device, f"a gradient on {gradient.device} for a tensor on {wanted.device}"
    return gradient.sum_to_size(tuple(wanted.shape)).to(wanted.dtype)


def _accumulate(leaf: Tensor, gradient: Tensor) -> None:
    leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
