"""What a training step costs beside the bare backbone, head, loss and optimiser on ready-made views.

Both sides run in this process, in turn, with the same threads, precision and memory format. The whole step is that of
the real loop: gathering, views, method, optimiser, checks and logging.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import Logger

from unlabeled.bench.timing import Turns, profile, seconds, settle, span, verdict
from unlabeled.core.files import cache_dir
from unlabeled.engine.loop import Keeping, train
from unlabeled.engine.optim import build_optimizer
from unlabeled.engine.tuning import tune
from unlabeled.recipes.resolve import load_recipe
from unlabeled.recipes.schema import Recipe
from unlabeled.runs.prepared import Prepared, prepare
from unlabeled.ssl.method import Batch, Step

TARGET, TARGET_GPU = 1.08, 1.05
LARGE = ("data=noise:4096", "data.size=32", "data.channels=3", "backbone.name=resnet18_small", "backbone.args={}")
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "simclr, ResNet-18 at 32 px": ("simclr", LARGE),
    **{
        name: (name, ())
        for name in ("simclr", "gsimclr", "swav", "dino", "mae", "rotation", "random_teacher", "supervised")
    },
}
"""Title: a recipe and what is changed in it."""


@dataclass
class Case:
    """A recipe with everything that its steps need."""

    recipe: Recipe
    ready: Prepared

    @classmethod
    def of(cls, name: str, overrides: tuple[str, ...] = ()) -> Case:
        """Prepare a recipe; a stage of the method's own is run first, or read from the cache."""
        recipe = load_recipe(name, ["epochs=100", "health.every=0", *overrides])
        ready = prepare(recipe)
        if ready.method.needs_prepare:
            ready.method.prepare(
                ready.images.without_labels(),
                seed=recipe.seed,
                batch_size=recipe.batch_size,
                cache=cache_dir() / "prepared",
                device=torch.device(ready.hardware.device()),
            )
        return cls(recipe, ready)

    @property
    def device(self) -> torch.device:
        """Where the loop trains."""
        return torch.device(self.ready.hardware.device())


class _Blocks(Logger):
    """Cuts the real loop into blocks of steps: it is called after each, and its own time is not counted."""

    def __init__(self, steps: int, between: Callable[[], None]) -> None:
        super().__init__()
        self.steps, self.between = steps, between
        self.seconds: list[float] = []
        self.since: float | None = None

    @property
    def name(self) -> str:
        return "blocks"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Not of interest."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if step is None or step % self.steps:
            return  # the end of an epoch
        settle()
        if self.since is not None:
            self.seconds.append((time.perf_counter() - self.since) / self.steps)
        self.between()
        settle()
        self.since = time.perf_counter()


def whole(case: Case, blocks: int, steps: int, between: Callable[[], None] = lambda: None) -> list[float]:
    """Mean seconds a step of the real loop in each of ``blocks`` blocks; ``between`` runs before each and at the end.

    A row is logged at the end of each block; one block more, the first, does not count.
    """
    recipe, ready = case.recipe, case.ready
    timer = _Blocks(steps, between)
    with tempfile.TemporaryDirectory() as folder:
        train(
            ready.method,
            ready.images,
            ready.views,
            recipe.optimizer,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            seed=0,
            hardware=ready.hardware,
            keeping=Keeping(Path(folder), log_every=steps, save_seconds=1e9, loggers=[timer]),
            max_steps=(blocks + 1) * steps,
        )
    return timer.seconds


def views_of(case: Case) -> Batch:
    """A batch of the recipe's views, ready made."""
    recipe, images, device = case.recipe, case.ready.images, case.device
    rows = np.arange(recipe.batch_size)
    labels = images.labels
    return Batch(
        case.ready.views(images.gather(rows).to(device), key=(0,)),
        torch.arange(recipe.batch_size, device=device),
        None if labels is None else torch.from_numpy(labels[rows]).to(device),
    )


def bare_step(case: Case) -> Callable[[], None]:
    """Forward, backward and optimiser of a copy of the method, on views that are already there."""
    batch, precision = views_of(case), case.ready.hardware.precision
    method = copy.deepcopy(case.ready.method).to(case.device).train()
    tune(method, case.device, half="16" in precision, compiled=False)
    optimizer: Any = build_optimizer(case.recipe.optimizer, method.parameter_groups())
    at = Step(0, 10**9, 10**9, 0, case.recipe.batch_size)
    half = torch.float16 if precision == "16-mixed" else torch.bfloat16

    def step() -> None:
        with torch.autocast(case.device.type, half, enabled="16" in precision):
            loss = method(batch, at)["loss"]
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(title: str, rounds: int = 7, steps: int = 5) -> Turns:
    """Seconds a step, ``whole`` and ``bare``, in blocks of ``steps`` steps that take turns."""
    case = Case.of(*CASES[title])
    step, turns = bare_step(case), Turns({"bare": []})

    def block() -> None:
        turns.taken["bare"].append(seconds(lambda: [step() for _ in range(steps)]) / steps)

    turns.taken["whole"] = whole(case, rounds, steps, block)
    turns.taken["bare"] = turns.taken["bare"][1:]  # the first warms up, as that of the loop does
    return turns


def row(title: str, turns: Turns) -> str:
    """A line of the table."""
    target = TARGET_GPU if torch.cuda.is_available() else TARGET
    ratio, ratios = turns.ratio("whole", "bare"), turns.ratios("whole", "bare")
    ms = " | ".join(f"{turns.median(side) * 1e3:.1f}" for side in ("whole", "bare"))
    return f"| {title} | {ms} | **{ratio:.3f}** | {span(ratios)} | {verdict(ratio, target, at_most=True)} |"


HEAD = "| recipe | step, ms | bare, ms | step / bare | range | |\n|---|---:|---:|---:|---|---|"


def profiled(title: str = "simclr", steps: int = 5) -> str:
    """Where the time of the real loop's steps goes."""
    case = Case.of(*CASES[title])
    return profile(lambda: whole(case, 1, steps), rows=25)


def lines(rounds: int) -> Iterator[str]:
    """The table, line by line."""
    yield HEAD
    for title in CASES:
        yield row(title, measure(title, rounds))
