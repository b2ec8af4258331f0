"""What there is to see of a trained run: points, neighbours, views, the method's own pictures."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize
from torch import Tensor

from unlabeled.backbones import Backbone
from unlabeled.core import rng
from unlabeled.core.errors import first_line
from unlabeled.core.model_input import normalised, sized
from unlabeled.data import ImageSet
from unlabeled.data.listing import NoTestSplit
from unlabeled.engine.batches import Shuffled
from unlabeled.probes.search import search
from unlabeled.recipes.schema import Recipe
from unlabeled.recipes.training_data import open_split
from unlabeled.report import Atlas, Cell, Confusion, Gallery, Projection
from unlabeled.runs.banks import bank_of
from unlabeled.runs.folder import Run
from unlabeled.runs.images import data_of, rule_of
from unlabeled.runs.models import load_backbone
from unlabeled.runs.prepared import Prepared, prepare
from unlabeled.ssl.method import Batch, DataInfo, Method, Step
from unlabeled.ssl.rotation import Rotation, rotations
from unlabeled.ssl.swav import SwAV

QUERIES, NEIGHBOURS, SHOWN_VIEWS = 10, 12, 14
SHOWN_PROTOTYPES, SHOWN_MEMBERS = 12, 12
LEAST_POINTS = 10
TURNS = ("0°", "90°", "180°", "270°")
Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass
class Looks:
    """The pictures of a run, as far as they can be had."""

    atlas: Atlas | None = None
    projections: list[Projection] = field(default_factory=list)
    retrieval: Gallery | None = None
    views: list[Gallery] = field(default_factory=list)
    pictures: list[Gallery] = field(default_factory=list)
    confusions: list[Confusion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def look(run: Run, recipe: Recipe, *, data_dir: str | None, points: int, bank: int) -> Looks:
    """Open the run's data and backbone and look at them.

    Args:
        points: at most so many held-out images are projected.
        bank: at most so many training images are searched.

    Raises:
        UserError: the data or the backbone cannot be read.
    """
    recipe = as_finished(recipe, run, data_dir)
    ready = prepare(recipe)
    train, config = ready.images, data_of(run, data_dir=data_dir)
    try:
        test = open_split(config, "test", rule_of(run, config))
    except NoTestSplit:  # all images are for training: these are looked at
        test = train
    held, known = _some(test, points), _some(train, bank)
    backbone = load_backbone(run.folder)
    features, memory = (normalize(np.asarray(bank_of(backbone, s).features, np.float32)) for s in (held, known))
    found = Looks(atlas=_atlas(held), retrieval=retrieval(held, features, known, memory))
    found.projections = project(features)
    if not found.projections and len(features) >= LEAST_POINTS:
        found.notes.append("All embeddings are the same: the representation has collapsed.")
    found.views = [views(ready, recipe)]
    if _remember(ready.method, run, found.notes):
        found.pictures = _own_pictures(ready, held, recipe.seed)
        if isinstance(ready.method, Rotation):
            found.confusions.append(rotation_confusion(ready.method, backbone, held))
        if isinstance(ready.method, SwAV):
            found.pictures.append(prototype_usage(ready.method, backbone, held))
    return found


def as_finished(recipe: Recipe, run: Run, data_dir: str | None) -> Recipe:
    """The recipe as it would go on from the finished backbone, with the data where they lie now."""
    changes: dict[str, Any] = {"dir": data_dir or recipe.data.dir}
    if run.left_out.is_file():  # what was forgotten is not shown; the rows are those of all data, with any labels
        changes |= {"without": str(run.left_out), "labels": None, "corrupt": None}
    data = recipe.data.model_copy(update=changes)
    backbone = recipe.backbone.model_copy(update={"weights": str(run.folder)})
    hardware = recipe.hardware.model_copy(update={"threads": None})
    return recipe.model_copy(update={"data": data, "backbone": backbone, "hardware": hardware})


def _some(images: ImageSet, count: int) -> ImageSet:
    """A fixed draw: the same images for every run on this data."""
    if len(images) <= count:
        return images
    return images.subset(np.sort(rng.numpy_generator(0, "report").permutation(len(images))[:count]))


def _name(images: ImageSet, row: int) -> str:
    return images.paths[row] if images.paths else f"{images.split} image {row}"


def _class(images: ImageSet, row: int) -> str:
    if images.labels is None:
        return ""
    label = int(images.labels[row])
    return images.classes[label] if images.classes else str(label)


def _atlas(held: ImageSet) -> Atlas:
    names = [_name(held, row) for row in range(len(held))]
    return Atlas(held.images, names, held.labels, held.classes)


def project(features: np.ndarray[Any, np.dtype[np.float32]]) -> list[Projection]:
    """PCA and t-SNE (van der Maaten & Hinton 2008) of features (N, D) of length 1; none of very few or equal ones."""
    if len(features) < LEAST_POINTS or not np.ptp(features, axis=0).any():
        return []
    size = min(50, *features.shape)
    main = PCA(size, random_state=0).fit_transform(features)
    found = [Projection("principal components 1 and 2", main[:, :2])] if size > 1 else []
    tsne = TSNE(perplexity=min(30.0, (len(features) - 1) / 3), init="random" if size < 2 else "pca", random_state=0)
    return [*found, Projection("t-SNE", tsne.fit_transform(main / main[:, 0].std()))]


def retrieval(held: ImageSet, features: Any, known: ImageSet, memory: Any) -> Gallery:
    """The nearest training images (cosine) of a few held-out ones, one of each class where there are labels."""
    if held.labels is None:
        chosen = np.arange(min(QUERIES, len(held)))
    else:
        chosen = np.unique(held.labels, return_index=True)[1][:QUERIES]
    near = search(memory, features[chosen], min(NEIGHBOURS, len(memory)))
    rows = []
    for query, indices, scores in zip(chosen.tolist(), near.index.numpy(), near.similarity.tolist(), strict=True):
        label = _class(held, query)
        cells = [Cell(held.images[query], f"{label}\n{_name(held, query)}".strip())]
        pixels = known.gather(indices).numpy()
        for pixel, index, score in zip(pixels, indices.tolist(), scores, strict=True):
            other = _class(known, index)
            tip = f"{other}\n{_name(known, index)}\ncosine {score:.3f}".strip()
            cells.append(Cell(pixel, tip, None if known.labels is None else other == label))
        rows.append(cells)
    caption = "Left: held-out images. Right: the training images nearest to them by cosine, the nearest first."
    if known.labels is not None:
        caption += " A solid green bar: the same class; a dotted orange one: another."
    return Gallery("nearest training images", caption, ["image", "nearest", *[""] * (near.index.shape[1] - 1)], rows)


def views(ready: Prepared, recipe: Recipe) -> Gallery:
    """The first images of the first batch, with the very views that training drew of them."""
    train = ready.images
    size = min(recipe.batch_size, len(train))
    batch = Shuffled(len(train), size).epoch(recipe.seed, 0)[0][:SHOWN_VIEWS]
    images = train.gather(batch)
    drawn = ready.views(images, key=(recipe.seed, 0, "views"), first=0, total=size)
    names = ["image"]
    for spec in recipe.views:
        names += [f"view, {spec.size or train.shape[1]} px"] * spec.count
    shown = [images, *(_pixels(view, ready.info) for view in drawn)]
    if isinstance(ready.method, Rotation):
        turned = rotations(drawn[0])[0].view(len(images), 4, *drawn[0].shape[1:])
        shown = [images, *(_pixels(turned[:, i], ready.info) for i in range(4))]
        names = ["image", *TURNS]
    rows = [[Cell(image) for image in part.numpy()] for part in shown]
    caption = "Training images as they are, and the augmented views drawn of them in the first step."
    return Gallery("views", caption, [""] * len(images), rows, names)


def _pixels(view: Tensor, info: DataInfo) -> Tensor:
    return (info.pixels(view.float()) * 255).round().to(torch.uint8)


def _remember(method: Method, run: Run, notes: list[str]) -> bool:
    """Give the method its heads back from the last checkpoint; False where there is none that fits."""
    if not run.checkpoint.is_file():
        return False
    try:
        state = torch.load(run.checkpoint, map_location="cpu", weights_only=True)["method"]
        method.load_state_dict(state)
    except (RuntimeError, OSError, KeyError, EOFError, TypeError, pickle.UnpicklingError) as error:
        notes.append(f"The method's own pictures are not shown: {first_line(error)}")
        return False
    method.eval()
    return True


@torch.inference_mode()
def _own_pictures(ready: Prepared, held: ImageSet, seed: int) -> list[Gallery]:
    count = min(8, len(held))
    step = Step(number=0, per_epoch=1, total=1, seed=seed, batch_size=count)
    drawn = ready.views(held.gather(np.arange(count)), key=(seed, "report"))
    galleries = []
    for picture in ready.method.pictures(Batch(drawn, torch.arange(count)), step):
        pixels = (picture.images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        rows = [[Cell(image) for image in row] for row in pixels]
        caption = "Held-out images, with the weights of the last checkpoint."
        galleries.append(Gallery(picture.title, caption, [""] * len(rows[0]), rows, picture.row_names))
    return galleries


def batches(held: ImageSet, backbone: Backbone) -> Iterator[Tensor]:
    """The images as the backbone takes them, a batch at a time, where it is."""
    place = backbone.mean.device
    for rows in np.array_split(np.arange(len(held)), -(-len(held) // 128)):
        yield normalised(sized(held.gather(rows).to(place), backbone.image_size), backbone.mean, backbone.std)


@torch.inference_mode()
def prototype_usage(method: SwAV, backbone: Backbone, held: ImageSet) -> Gallery:
    """The prototypes that lead for most held-out images, each with the images nearest to it."""
    projected = (F.normalize(method.head(method.backbone(images)), dim=1) for images in batches(held, backbone))
    cosine, leader = torch.cat([method.prototypes(projections) for projections in projected]).max(1)
    count = torch.bincount(leader, minlength=method.config.prototypes)
    share = count / count.sum()
    evenly = float(torch.special.entr(share).sum().exp())
    rows, names = [], []
    for prototype in count.argsort(descending=True, stable=True)[: min(SHOWN_PROTOTYPES, int((count > 0).sum()))]:
        near = torch.where(leader == prototype, cosine, -torch.inf).argsort(descending=True)[: int(count[prototype])]
        cells = [
            Cell(held.images[i], f"{_class(held, i)}\n{_name(held, i)}\ncosine {cosine[i]:.3f}".strip())
            for i in near[:SHOWN_MEMBERS].tolist()
        ]
        rows.append(cells)
        names.append(f"no. {int(prototype)}: {100 * share[prototype]:.1f} %")
    used = f"{int((count > 0).sum())} of {len(count)}"
    caption = (
        f"{used} prototypes lead for some of {len(held):,} held-out images, as unevenly as if {evenly:.1f} led for "
        "equal shares (exponential of the entropy). Those that lead for most, and the images nearest to each."
    )
    return Gallery("prototypes in use", caption, [""] * SHOWN_MEMBERS, rows, names)


@torch.inference_mode()
def rotation_confusion(method: Rotation, backbone: Backbone, held: ImageSet) -> Confusion:
    """How well the rotation head tells the four rotations of held-out images apart."""
    counts = torch.zeros(4, 4, dtype=torch.int64)
    for images in batches(held, backbone):
        turned, labels = rotations(images)
        answers = method.head(method.backbone(turned)).argmax(1)
        counts += torch.bincount(labels * 4 + answers, minlength=16).view(4, 4)
    share = counts.diagonal().sum() / counts.sum()
    title = f"rotations told apart on held-out images: {100 * share:.1f} %"
    return Confusion(title, TURNS, counts.numpy())
