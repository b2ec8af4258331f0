"""A step never waits for the device: none of its operations asks for a value or for a size that depends on values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from unlabeled import backbones
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.engine.optim import OptimizerConfig, build_optimizer
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.methods import METHODS

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.bincount, aten.equal, aten.is_nonzero,
    aten.unique_dim, aten._unique2, aten.repeat_interleave,
}  # fmt: skip


class Watch(TorchDispatchMode):
    """Notes the operations that would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masked = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if func.overloadpacket in WAITS or masked:
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def method(name: str, **settings: Any) -> Any:
    info = DataInfo(64, 1, 16, 16, 4, (0.5,), (0.25,))
    if name == "mae":
        small = {"patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2}
        model = backbones.create("vit_tiny_patch16_224", in_chans=1, image_size=16, mean=(0.5,), std=(0.25,), **small)
    else:
        small = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}
        model = backbones.create("resnet10_small", in_chans=1, image_size=16, mean=(0.5,), std=(0.25,), **small)
    return METHODS[name](METHODS[name].Config(**settings), model, info)


SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "rotation": (1, {}),
    "simclr": (2, {}),
    "gsimclr": (2, {}),
    "swav": (2, {"prototypes": 8, "queue": 16}),
    "mae": (1, {"decoder_dim": 16, "decoder_heads": 2}),
    "random_teacher": (1, {"output_dim": 64, "hidden_dim": 16, "bottleneck_dim": 8}),
    "supervised": (1, {}),
}


def watched(work: Callable[[], object]) -> list[str]:
    with Watch() as watch:
        work()
    return watch.seen


def test_the_watch_sees() -> None:
    x = torch.ones(3)
    assert watched(lambda: float(x[0]))
    assert watched(lambda: x[x > 0])
    assert not watched(lambda: x.sum() + x[torch.tensor([0, 1])])


@pytest.mark.parametrize("name", list(SETTINGS))
@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adamw"])
def test_a_step_waits_for_nothing(name: str, optimizer: Any) -> None:
    count, settings = SETTINGS[name]
    model = method(name, **settings)
    config = OptimizerConfig(name=optimizer, clip=1.0)
    update: Any = build_optimizer(config, model.parameter_groups())
    labels = torch.arange(16) % 4 if model.needs_labels else None
    batch = Batch([torch.randn(16, 1, 16, 16) for _ in range(count)], torch.arange(16), labels)

    def one(number: int) -> None:
        at = Step(number, 4, 8, 0, 16)
        model.before_step(at)
        outputs = model(batch, at)
        torch.autograd.backward(outputs["loss"])
        model.after_backward(at)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        update.step()
        update.zero_grad()
        model.after_step(at)

    for number in (0, 1):  # SwAV asks for the state of its queue until that is full
        one(number)
    assert watched(lambda: [one(number) for number in (2, 5)]) == []


def test_views_wait_only_for_what_was_drawn_on_the_host() -> None:
    spec = ViewSpec(count=2, crop="resized", flip=0.5, jitter=0.8, brightness=0.4, hue=0.1, gray=0.2, rotate=10)
    views = Views((spec,), (0.5,) * 3, (0.25,) * 3)
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    assert watched(lambda: views(images, key=(0,))) == []
