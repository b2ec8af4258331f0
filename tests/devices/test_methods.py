"""Every method's step on a GPU, without one: all tensors are there, and the host never waits for a value."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from unlabeled import backbones
from unlabeled.engine.gradients import gradient_norm
from unlabeled.engine.metrics import Window
from unlabeled.engine.optim import build_optimizer
from unlabeled.engine.tuning import tune
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.prepared import Prepared, prepare
from unlabeled.ssl.method import Batch, Step
from unlabeled.ssl.methods import METHODS

SIZE = 16
SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_stride": 2}
TAUGHT = "resnet10_small"
SMALLER = {"output_dim": 64, "hidden_dim": 32, "bottleneck_dim": 16, "prototypes": 32, "queue": 32, "decoder_depth": 1}
"""Settings of methods, wherever they have them."""
SETTINGS = {
    "distill": ("method.loss=relational",),
    "finetune": ("method.mixup=0.8", "method.cutmix=1.0"),
    "swav": ("method.freeze_steps=1",),
    "data2vec": ("method.layers=1",),
}
"""What the recipe does not use by itself."""
ALLOWED = {
    ("unlabeled/heads/queue.py", "count"): 32,  # how full a queue is: once after a start, then counted on the host
}
STEPS = (0, 9)  # the first of all, and one of a later epoch


def prepared(name: str, folder: Path) -> Prepared:
    """The method's own recipe with a small network."""
    recipe = load_recipe(name)
    transformer = recipe.backbone.name.startswith("vit")
    settings = [f"backbone.args={ {**recipe.backbone.args, 'depth': 1} if transformer else SMALL }"]
    fields = type(recipe.method).model_fields
    settings += [f"method.{key}={value}" for key, value in SMALLER.items() if key in fields]
    if "teacher" in fields:
        taught, arguments = (
            (recipe.backbone.name, {**recipe.backbone.args, "depth": 1}) if transformer else (TAUGHT, SMALL)
        )
        teacher = backbones.create(taught, in_chans=1, image_size=28, mean=(0.5,), std=(0.5,), **arguments)
        backbones.save(teacher, folder / "teacher")
        settings.append(f"method.teacher={folder / 'teacher'}")
        settings += ["method.size=28"] if "size" in fields else []
    settings += [f"batch_size={SIZE}", "hardware.accelerator=cpu", *SETTINGS.get(name, ())]
    return prepare(load_recipe(name, settings))


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"random"}))
def test_a_step_stays_on_the_device_and_never_waits(name: str, fake: ModuleType, tmp_path: Path) -> None:
    ready = prepared(name, tmp_path)
    method, optimizer = ready.method, load_recipe(name).optimizer
    tune(method, torch.device("cpu"), half=False, compiled=False)
    rows = torch.arange(SIZE)
    images, window = ready.images.gather(rows.numpy()), Window()
    labels = torch.from_numpy(ready.images.labels[rows]) if method.needs_labels else None
    with fake.fake_gpu(ALLOWED) as gpu:
        for network in (method, *getattr(method, "teachers", ())):  # teachers move once, with the first images
            fake.moved(network)
        there = [None if tensor is None else tensor.pin_memory().to(fake.GPU) for tensor in (images, rows, labels)]
        update = build_optimizer(optimizer, method.parameter_groups(), fused=True)
        for number in STEPS:
            step(ready, method, there, Step(number, 4, 12, 0, SIZE), update, window, fake)
        assert all(value.device == fake.GPU for value in window.sums.values())
        state = [value for held in update.state.values() for value in held.values() if value.ndim]
        assert all(value.device == fake.GPU for value in state)
        assert not gpu.unpinned, f"copies that the host waits for: {gpu.unpinned}"


def step(ready: Prepared, method: Any, there: Any, at: Step, update: Any, window: Window, fake: ModuleType) -> None:
    """What the loop does in a step."""
    images, rows, labels = there
    method.before_step(at)
    views = ready.views(images, key=(0, at.number), first=0, total=SIZE)
    assert all(view.device == fake.GPU for view in views)
    with torch.autocast("cuda", torch.bfloat16):
        out = method(Batch(views, rows, labels), at)
    assert all(value.device == fake.GPU for value in out.values()), {k: v.device for k, v in out.items()}
    fake.backward(out["loss"])
    method.after_backward(at)
    norm = gradient_norm(method.parameters(), 1.0)
    update.step()
    update.zero_grad()
    method.after_step(Step(at.number + 1, 4, 12, 0, SIZE))
    window.add(out, at.number + 1)
    window.norms.add(norm)
