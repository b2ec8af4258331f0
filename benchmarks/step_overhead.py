"""What a training step costs beside the bare backbone, head and optimiser on ready-made views of the same sizes.

    python benchmarks/step_overhead.py [--methods simclr rotation] [--backbone resnet10_small] [--rounds 5]

Both sides run in this process, in turn (A B A B …), with the same threads, precision and memory format; the ratio is
the median of the paired ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _results import machine, save, section

from unlabeled.recipes.pretrain import Prepared, prepare
from unlabeled.recipes.resolve import load_recipe
from unlabeled.recipes.schema import Recipe
from unlabeled.ssl.loop import Keeping, train
from unlabeled.ssl.method import Batch, Step
from unlabeled.ssl.optim import build_optimizer


def whole(recipe: Recipe, steps: int) -> float:
    """Seconds a step of the real loop: data, views, method, optimiser, bookkeeping."""
    ready = prepare(recipe)
    times: list[float] = []
    before = ready.method.before_step

    def stamp(step: Step) -> None:
        times.append(time.perf_counter())
        before(step)

    ready.method.before_step = stamp  # type: ignore[method-assign]
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
            keeping=Keeping(Path(folder), save_seconds=1e9),
            max_steps=steps + 2,
        )
    return (times[-1] - times[1]) / (len(times) - 2)


def bare(recipe: Recipe, ready: Prepared, batch: Batch, steps: int) -> float:
    """Seconds a step of forward, backward and optimiser on views that are already there."""
    method = ready.method.to(memory_format=torch.channels_last).train()
    optimizer: Any = build_optimizer(recipe.optimizer, method.parameter_groups())
    at = Step(0, 1, 1, 0, recipe.batch_size)
    times = []
    for _ in range(steps + 2):
        times.append(time.perf_counter())
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in ready.hardware.precision):
            loss = method(batch, at)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    times.append(time.perf_counter())
    return (times[-1] - times[2]) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["simclr", "rotation"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--set", nargs="*", default=[], help="overrides of the recipe")
    options = parser.parse_args()
    rows, figures = [], {}
    for name in options.methods:
        recipe = load_recipe(name, ["epochs=9", *options.set])
        ready = prepare(recipe)
        import numpy as np

        pixels = ready.images.gather(np.arange(recipe.batch_size))
        batch = Batch(ready.views(pixels, key=(0,)), torch.arange(recipe.batch_size))
        pairs = []
        for _ in range(options.rounds):
            pairs.append((whole(recipe, options.steps), bare(recipe, ready, batch, options.steps)))
            print(f"{name}: whole {pairs[-1][0] * 1e3:.1f} ms, bare {pairs[-1][1] * 1e3:.1f} ms", flush=True)
        ratio = statistics.median(a / b for a, b in pairs)
        a, b = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
        figures[name] = {"pairs": pairs, "ratio": ratio, "precision": ready.hardware.precision}
        rows.append(f"| {name} | {recipe.backbone.name} | {recipe.batch_size} | {a:.0f} | {b:.0f} | **{ratio:.3f}** |")
    save("step_overhead", figures)
    section(
        "step_overhead",
        "## A step against the bare model\n\n"
        f"`python benchmarks/step_overhead.py --methods {' '.join(options.methods)}` on {machine()}\n\n"
        "| recipe | backbone | batch | step, ms | bare, ms | ratio |\n|---|---|---|---|---|---|\n" + "\n".join(rows),
    )


if __name__ == "__main__":
    main()
