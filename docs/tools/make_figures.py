"""Draw the figures of docs/methods.md from the package's own code: python docs/tools/make_figures.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

mpl.use("Agg")

import matplotlib.pyplot as plt

from unlabeled import backbones, open_data
from unlabeled.core import rng
from unlabeled.data import ImageSet
from unlabeled.data.views import Views
from unlabeled.engine.batches import Shuffled
from unlabeled.recipes.resolve import load_recipe
from unlabeled.ssl.mae import MAE
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.random_teacher import RandomTeacher
from unlabeled.ssl.rotation import rotations
from unlabeled.ssl.samplers import DiverseBatches
from unlabeled.ssl.simclr import nt_xent
from unlabeled.ssl.sinkhorn import sinkhorn

FOLDER = Path(__file__).parents[1] / "figures"
GRAY, BLUE, ORANGE = "#868686", "#2a8fbd", "#dd7a1c"  # legible on white and on black
ROWS = np.array([0, 6, 23, 35])


def views_of(images: ImageSet, recipe: str) -> list[Tensor]:
    """The views that a recipe makes of a few images, as pixels in [0, 1]."""
    mean, std = images.statistics()
    pixels = images.gather(ROWS)
    views = Views(load_recipe(recipe).views, mean, std)(pixels, key=(0, 0, 0))
    return [pixels / 255, *((view * std[0] + mean[0]).clamp(0, 1) for view in views)]


def grid(name: str, columns: list[Tensor], titles: list[str]) -> None:
    """Images below each other, their views beside each other, smaller ones drawn smaller."""
    largest = max(column.shape[-1] for column in columns)
    widths = [max(column.shape[-1] / largest, 0.55) for column in columns]
    height = 1.1 * len(ROWS)
    figure, axes = plt.subplots(
        len(ROWS), len(columns), figsize=(1.15 * sum(widths), height), gridspec_kw={"width_ratios": widths}
    )
    for row, line in enumerate(axes):
        for axis, column, title in zip(line, columns, titles, strict=True):
            axis.imshow(column[row, 0], cmap="gray", vmin=0, vmax=1)
            axis.set_axis_off()
            if row == 0:
                axis.set_title(title, color=GRAY, fontsize=9)
    save(name, figure)


def save(name: str, figure: Any) -> None:
    """Transparent, so that the page's own background shows."""
    figure.savefig(FOLDER / f"{name}.png", dpi=130, transparent=True, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def plot(width: float = 5.2, height: float = 2.8, columns: int = 1) -> tuple[Any, Any]:
    """Axes in colours for light and dark pages."""
    figure, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False)
    for axis in axes[0]:
        axis.tick_params(colors=GRAY, labelsize=8)
        for side, spine in axis.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(GRAY)
        axis.xaxis.label.set_color(GRAY)
        axis.yaxis.label.set_color(GRAY)
        axis.title.set_color(GRAY)
    return figure, axes[0]


def legend(axis: Any) -> None:
    axis.legend(frameon=False, labelcolor=GRAY, fontsize=8)


def pictures(images: ImageSet) -> None:
    """Views as each recipe's method sees them."""
    original, view = views_of(images, "rotation")
    turned = rotations(view)[0].unflatten(0, (len(ROWS), 4)).unbind(1)
    grid("rotation", [original, *turned], ["image", "0°", "90°", "180°", "270°"])
    grid("simclr", views_of(images, "simclr"), ["image", "view 1", "view 2"])
    small = [f"{number}" for number in range(3, 7)]
    grid("swav", views_of(images, "swav"), ["image", "large 1", "large 2", *small])


def masks(images: ImageSet) -> None:
    """What MAE's encoder sees."""
    recipe = load_recipe("mae")
    mean, std = images.statistics()
    info = DataInfo(len(images), 1, 28, 28, None, mean, std)
    vit = backbones.create(
        recipe.backbone.name, in_chans=1, image_size=28, mean=mean, std=std, seed=0, **recipe.backbone.args
    )
    method = MAE(recipe.method, vit, info)
    step = Step(0, 1, 1, seed=0, batch_size=len(ROWS))
    normal = (images.gather(ROWS) / 255 - mean[0]) / std[0]
    (picture,) = method.pictures(Batch([normal], torch.as_tensor(ROWS)), step)
    grid("mae", [picture.images[0].cpu(), picture.images[1].cpu()], ["view", "visible"])


def temperature() -> None:
    """How hard NT-Xent pushes a negative away, by its cosine with the anchor."""
    figure, (axis,) = plot()
    cosines = torch.linspace(-1, 0.99, 200)
    anchor = torch.tensor([[1.0, 0.0]])
    for tau, colour in ((0.1, BLUE), (0.5, ORANGE)):
        negatives = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1).requires_grad_()
        nt_xent(torch.cat([anchor, negatives]), torch.cat([anchor, negatives.detach()]), tau).backward()
        candidates = torch.exp(cosines / tau)
        axis.plot(cosines, candidates / candidates.sum(), color=colour, label=f"τ = {tau}")
    axis.set(xlabel="cosine of a negative with the anchor", ylabel="share of the push")
    legend(axis)
    save("temperature", figure)


def guided(images: ImageSet) -> None:
    """Images of a batch that share a pseudo-label with another one of it, for both samplers."""
    from sklearn.cluster import MiniBatchKMeans

    pixels = images.gather(np.arange(4000)).flatten(1).numpy() / 255.0
    labels = MiniBatchKMeans(256, random_state=0, n_init=1).fit_predict(pixels).astype(np.int64)
    figure, (axis,) = plot()
    for sampler, name, colour in (
        (Shuffled(len(labels), 64), "shuffled", ORANGE),
        (DiverseBatches(labels, 64), "guided", BLUE),
    ):
        shared = [64 - len(np.unique(labels[batch])) for batch in sampler.epoch(0, 0)]
        axis.plot(range(1, len(shared) + 1), shared, color=colour, label=name)
    axis.set(xlabel="batch of the epoch (64 images)", ylabel="images sharing a label", ylim=(-0.5, None))
    legend(axis)
    save("gsimclr", figure)


def codes() -> None:
    """Scores that prefer two prototypes, and the codes made of them."""
    generator = rng.torch_generator("figure")
    scores = 0.12 * torch.randn(24, 8, generator=generator)
    scores[:, :2] += 0.25
    figure, axes = plot(5.2, 3.2, columns=2)
    for axis, values, title in zip(axes, (scores, sinkhorn(scores)), ("scores", "codes"), strict=True):
        axis.imshow(values, cmap="viridis", aspect="auto")
        axis.set(xlabel="prototype", title=title)
        axis.set_xticks([])
        axis.set_yticks([])
    axes[0].set_ylabel("image")
    save("sinkhorn", figure)


def random_teacher(images: ImageSet) -> None:
    """How far the student is from the teacher before the first step."""
    recipe = load_recipe("random_teacher", ["method.output_dim=1024", "method.hidden_dim=256"])
    mean, std = images.statistics()
    info = DataInfo(len(images), 1, 28, 28, None, mean, std)
    normal = (images.gather(np.arange(64)) / 255 - mean[0]) / std[0]
    alphas, losses = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], []
    for alpha in alphas:
        vgg = backbones.create("vgg11_small", in_chans=1, image_size=28, mean=mean, std=std, seed=0)
        torch.manual_seed(0)
        method = RandomTeacher(recipe.method.model_copy(update={"alpha": alpha}), vgg, info)
        with torch.no_grad():
            step = Step(0, 1, 1, seed=0, batch_size=64)
            losses.append(float(method(Batch([normal], torch.arange(64)), step)["loss"]))
    figure, (axis,) = plot()
    axis.plot(alphas, losses, color=BLUE, marker="o", markersize=4)
    axis.set(xlabel="α", ylabel="KL before the first step")
    save("random_teacher", figure)


def main() -> None:
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    images = open_data("fashion-mini")
    pictures(images)
    masks(images)
    temperature()
    guided(images)
    codes()
    random_teacher(images)


if __name__ == "__main__":
    main()
