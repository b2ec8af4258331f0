"""Distillation: a student learns on unlabelled images what a frozen network of any kind says of them.

Three losses. *cosine*: the student's projection points, from the middle of all images, where the teacher's embedding
does: what all embeddings share tells no image from another, and would be learned first. *relational*: it is as
similar to a queue of past images as the teacher says (Fang et al., "SEED: self-supervised distillation for visual
representation", ICLR 2021, https://arxiv.org/abs/2101.04731, equations 3-6; with one queue also Abbasi Koohpayegani et
al., "CompRess", NeurIPS 2020, https://arxiv.org/abs/2010.14713). *labels*: it gives the classes the probabilities that
a classifier gives them (Chen et al., "Big self-supervised models are strong semi-supervised learners", NeurIPS 2020,
https://arxiv.org/abs/2006.10029, equation 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from unlabeled.core import dist, rng
from unlabeled.core.arrays import load_array, save_array
from unlabeled.core.precision import full_precision
from unlabeled.core.progress import progress
from unlabeled.heads.projection import ProjectionHead
from unlabeled.heads.queue import ProjectionQueue
from unlabeled.ssl.frozen import FrozenTeacher
from unlabeled.ssl.method import Asked, Batch, DataInfo, Images, Kept, Method, MethodConfig, Step

Names = Annotated[
    tuple[str, ...], Field(strict=False, min_length=1), BeforeValidator(lambda v: [v] if isinstance(v, str) else v)
]


class DistillConfig(MethodConfig):
    name: Literal["distill"] = "distill"
    teacher: Names = Field(description="a run, timm:NAME, hf-hub:ID or folder; of several, embeddings side by side")
    loss: Literal["cosine", "relational", "labels"] = "cosine"
    sees: Literal["image", "view"] = Field("image", description="the teacher sees the whole image, once; or every view")
    size: int | None = Field(None, ge=1, description="side of the images that the teacher sees; default: its own")
    layers: int = Field(2, ge=1, le=4, description="linear layers that project the student's embedding")
    hidden_dim: int = Field(1024, ge=1, description="width of the hidden ones")
    queue: int = Field(16384, ge=1, description="relational: past images that are compared with")
    temperature: float = Field(0.2, gt=0, description="relational: of the student; labels: of both (1 in the paper)")
    teacher_temperature: float = Field(0.01, gt=0, description="relational: of the teacher")


Rows = np.ndarray[Any, np.dtype[np.int64]]
Answers = np.ndarray[Any, np.dtype[np.float16]]
MIDDLE_OF = 4096
"""Images that the middle is taken of where the teacher sees views."""


@full_precision
def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean ``1 - cos`` of ``(B, D)`` projections and embeddings."""
    return 1 - F.cosine_similarity(student, teacher).mean()


@full_precision
def relational(student: Tensor, teacher: Tensor, queue: Tensor, tau_student: float, tau_teacher: float) -> Tensor:
    """Mean cross-entropy of the student's similarities under the teacher's (SEED, equation 6).

    Both are compared with the teacher's own embedding of the image and with ``queue``, ``(K, D)`` embeddings of others:
    ``p_j = softmax_j(z·d_j / tau)``; all are normalised here.
    """
    student, teacher, queue = (F.normalize(rows, dim=1) for rows in (student, teacher, queue))
    own = (student * teacher).sum(1, keepdim=True), (teacher * teacher).sum(1, keepdim=True)
    said = torch.cat([own[0], student @ queue.T], dim=1) / tau_student
    wanted = torch.cat([own[1], teacher @ queue.T], dim=1) / tau_teacher
    return F.cross_entropy(said, wanted.softmax(1))


@full_precision
def soft_labels(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean ``- sum_y P_T(y) log P_S(y)`` of ``(B, K)`` logits, both softened by ``temperature``."""
    return F.cross_entropy(student / temperature, (teacher / temperature).softmax(1))


class Distill(Method):
    """The teacher is in no checkpoint: it is opened again. What it says of whole images is kept in the cache."""

    Config = DistillConfig
    needs_prepare = True
    prepared_is_state = False
    accumulates = False
    targets: Tensor
    middle: Tensor
    teachers: tuple[FrozenTeacher, ...]

    def __init__(
        self, config: DistillConfig, backbone: nn.Module, info: DataInfo, teachers: Sequence[FrozenTeacher]
    ) -> None:
        super().__init__(config, backbone, info)
        for teacher in teachers:
            teacher.expect_channels(info.channels)
        # not a module of this one: a frozen network belongs neither into checkpoints nor into the optimiser
        self.__dict__["teachers"] = tuple(teachers)
        dim = sum(teacher.dim for teacher in teachers)
        if config.loss == "labels":
            self.classifier = nn.Linear(self.embedding_dim, dim)
        else:
            self.head = ProjectionHead(
                self.embedding_dim, config.hidden_dim, dim, layers=config.layers, last_norm=False
            )
        self.queue = ProjectionQueue(1, config.queue, dim) if config.loss == "relational" else None
        kept = info.num_images if config.sees == "image" else 0
        self.register_buffer("targets", torch.zeros(kept, dim, dtype=torch.float16), persistent=False)
        self.register_buffer("middle", torch.zeros(dim), persistent=False)

    @classmethod
    def asks(cls, config: DistillConfig) -> Asked:
        return Asked(config.teacher, config.size, config.loss == "labels")

    def kept(self) -> Kept:
        return Kept(self.backbone, classifier=self.classifier if self.config.loss == "labels" else None)

    def prepare(self, images: Images, *, seed: int, batch_size: int, cache: Path, device: torch.device) -> None:
        """Ask the teachers about every image, once; where they see views, about some images, for the middle."""
        rows = np.arange(len(images))
        if self.config.sees == "view":
            if self.config.loss != "cosine":
                return
            rows = np.unique(np.linspace(0, len(images) - 1, MIDDLE_OF).astype(np.int64))
        answers = torch.from_numpy(self._answers(images, rows, cache, device))
        if self.config.loss == "cosine":
            self.middle.copy_(answers.double().mean(0))
        if self.config.sees == "image":
            self.targets.copy_(answers)

    def _answers(self, images: Images, rows: Rows, cache: Path, device: torch.device) -> Answers:
        """What the teachers say of whole images ``rows``, ``(R, D)``; kept in the cache."""
        asked = [f"{teacher.digest} {teacher.size}" for teacher in self.teachers]
        part = [len(rows)] if len(rows) < len(images) else []
        key = rng.derive(images.fingerprint, *asked, self.config.loss == "labels", *part)
        file, shape = cache / f"teacher-{key:016x}.npy", (len(rows), len(self.middle))
        answers = load_array(file, np.float16, shape)
        if answers is None:
            answers = np.empty(shape, np.float16)
            with progress("teacher", len(rows), unit="img") as tick:
                for start in range(0, len(rows), 256):
                    some = slice(start, start + 256)
                    answers[some] = self.ask(images.gather(rows[some]).to(device).float() / 255).cpu().numpy()
                    tick(len(rows[some]))
            save_array(file, answers)
        return answers

    def ask(self, pixels: Tensor) -> Tensor:
        """What the teachers say of images in [0, 1]: logits, or unit-length embeddings side by side."""
        answers = [teacher.to(pixels.device)(pixels) for teacher in self.teachers]
        if self.config.loss != "labels":
            answers = [F.normalize(answer, dim=1) for answer in answers]
        return torch.cat(answers, dim=1)

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        views = torch.cat(batch.views)
        if self.config.sees == "image":
            target = self.targets[batch.rows].float().repeat(len(batch.views), 1)
        else:
            target = self.ask(self.info.pixels(views))
        embedding = self.backbone(views)
        if self.config.loss == "labels":
            return {"loss": soft_labels(self.classifier(embedding), target, self.config.temperature)}
        projection = self.head(embedding)
        if self.queue is None:
            return {"loss": cosine_distance(projection, target - self.middle)}
        known = self.queue.rows[0, : self.queue.count]
        loss = relational(projection, target, known, self.config.temperature, self.config.teacher_temperature)
        if self.training:
            self.queue.push(dist.gather(target)[None])
        return {"loss": loss}
