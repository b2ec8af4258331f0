"""A whole pretraining epoch against the equivalent script on lightly and Lightning.

The same backbone, batch size, views, loss, optimiser, schedule and precision on the same images; the peer decodes
nothing either (its images lie in memory), and its DataLoader has two persistent workers. Epochs after the first count,
when workers run and memory is laid out.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms.simclr_transform import SimCLRTransform
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from unlabeled.bench.step import Case, whole
from unlabeled.bench.timing import Turns, settle, span, verdict
from unlabeled.engine.optim import learning_rate

TARGET, TARGET_GPU = 1.3, 3.0
WORKERS = 2
PEER = "lightly + Lightning"


class Pictures(Dataset[tuple[list[Tensor], int]]):
    """Images in memory as PIL images, transformed one by one."""

    def __init__(self, case: Case) -> None:
        recipe, images = case.recipe, case.ready.images
        view, (channels, height, _) = recipe.views[0], images.shape
        pixels = images.images
        self.pictures = [Image.fromarray(p[0] if channels == 1 else p.transpose(1, 2, 0)) for p in pixels]
        self.transform: Callable[[Image.Image], Any] = SimCLRTransform(
            input_size=view.size or height,
            cj_prob=view.jitter,
            cj_bright=view.brightness,
            cj_contrast=view.contrast,
            cj_sat=view.saturation,
            cj_hue=view.hue,
            min_scale=view.scale[0],
            random_gray_scale=view.gray,
            gaussian_blur=view.blur,
            hf_prob=view.flip,
            normalize={"mean": list(case.ready.views.mean), "std": list(case.ready.views.std)},
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> tuple[list[Tensor], int]:
        return self.transform(self.pictures[i]), i


class Peer(pl.LightningModule):
    """SimCLR as lightly's documentation writes it."""

    def __init__(self, backbone: nn.Module, case: Case, per_epoch: int) -> None:
        super().__init__()
        config: Any = case.recipe.method
        width = case.ready.method.embedding_dim
        self.backbone = backbone
        self.head = SimCLRProjectionHead(width, config.hidden_dim or width, config.projection_dim, config.layers)
        self.criterion = NTXentLoss(config.temperature)
        self.case, self.per_epoch = case, per_epoch

    def training_step(self, batch: Any, _: int) -> Tensor:
        """Both views in one forward pass, as ours."""
        views = batch[0]
        z0, z1 = self.head(self.backbone(torch.cat(views))).chunk(2)
        loss: Tensor = self.criterion(z0, z1)
        return loss

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser and schedule."""
        recipe = self.case.recipe
        config, total = recipe.optimizer, recipe.epochs * self.per_epoch
        optimizer = torch.optim.SGD(
            self.parameters(), lr=1.0, momentum=config.momentum, weight_decay=config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate(config, recipe.batch_size, step, self.per_epoch, total)
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class _Clock(pl.Callback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        settle()
        self.ends.append(time.perf_counter())


def peer_epoch(case: Case, pictures: Pictures) -> float:
    """Seconds of the peer's second epoch."""
    loader = DataLoader(
        pictures, case.recipe.batch_size, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator=case.ready.hardware.accelerator, devices=1, precision=case.ready.hardware.precision,
            max_epochs=2, callbacks=[clock], logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=Path(folder),
        )  # fmt: skip
        trainer.fit(Peer(copy.deepcopy(case.ready.method.backbone), case, len(loader)), loader)
    return clock.ends[1] - clock.ends[0]


def measure(rounds: int = 5) -> Turns:
    """Seconds an epoch of SimCLR with a small ResNet on 28-pixel images, in turn."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    case = Case.of("simclr")
    pictures = Pictures(case)
    steps = len(pictures) // case.recipe.batch_size
    turns = {
        "unlabeled": lambda: whole(case, 1, steps)[0] * steps,
        PEER: lambda: peer_epoch(case, pictures),
    }
    return Turns().take(turns, rounds)


def table(turns: Turns) -> str:
    """Seconds an epoch and the ratio."""
    target = TARGET_GPU if torch.cuda.is_available() else TARGET
    ratio = turns.ratio(PEER, "unlabeled")
    return (
        "| | seconds an epoch | their time / ours | range |\n|---|---:|---:|---|\n"
        f"| unlabeled | {turns.median('unlabeled'):.2f} | 1.00 | |\n"
        f"| {PEER}, {WORKERS} workers | {turns.median(PEER):.2f} | **{ratio:.2f}** | "
        f"{span(turns.ratios(PEER, 'unlabeled'))} |\n\n"
        "SimCLR, resnet10_small, batches of 256, fashion-mini (28 px); "
        f"target ≥ {target:g} ×: {verdict(ratio, target)}."
    )


def lines(rounds: int) -> Iterator[str]:
    """The table."""
    yield table(measure(rounds))
