"""SCAR: forget images to the nearest other distribution, the rest held in place on surrogate images (no retain set).

Bonato, Cotogni and Sabetta, "Is retain set all you need in machine unlearning?", ECCV 2024,
https://arxiv.org/abs/2404.12922. The paper's distributions are those of the classes, from labelled training images, and
its surrogates are images of another data set. Here, without labels and with encoders in mind:

- the surrogates are images like the data's that the model never met (``unseen``);
- the distributions are those of the surrogates' embeddings, grouped by the original's answers, or, where there is no
  classifier, by k-means;
- the *other* distribution of an image is the nearest one that is not the image's own: not that of its answer, or,
  where there is no classifier, not the nearest of all;
- where whole classes are to go, groups that hold more of the forget images than of the surrogates are nobody's goal,
  and their surrogates hold nothing in place (the paper leaves out surrogates that are answered by the class).

A whole class that fills several groups can still keep one of them: give ``clusters`` about as many as there are kinds
of images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.core.device import taken
from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.training.distil import mismatch
from unlabeled.forgetting.training.paired import train_paired

SMALL = 1e-6
"""Below it the slope of a root, which has no bound at zero, is taken to be none."""


def tukey(embeddings: Tensor) -> Tensor:
    """``sign(x) √|x|``: less skewed. The paper's features have no sign; those of transformers have."""
    root: Tensor = embeddings.sign() * embeddings.abs().clamp_min(SMALL).sqrt()
    return root


def shrunk_inverse(rows: Tensor, diagonal: float, others: float) -> Tensor:
    """The inverse of a covariance of ``(N, D)`` rows, shrunk and scaled to a correlation: ``(D, D)``.

    ``Σ + γ₁ V₁ I + γ₂ V₂ (1 − I)`` with V₁ the mean variance and V₂ the mean covariance, then divided by the standard
    deviations of its rows and columns.
    """
    covariance = rows.T.cov()
    size = len(covariance)
    variance = covariance.diagonal().mean()
    between = (covariance.sum() - covariance.diagonal().sum()) / max(1, size * (size - 1))
    identity = torch.eye(size, dtype=rows.dtype, device=rows.device)
    shrunk = covariance + diagonal * variance * identity + others * between * (1 - identity)
    deviation = shrunk.diagonal().sqrt()
    inverse: Tensor = torch.linalg.pinv(shrunk / (deviation[:, None] * deviation), hermitian=True)
    return inverse


@dataclass(frozen=True)
class Distributions:
    """Means ``(K, D)`` of unit length and inverse covariances ``(K, D, D)`` of groups of transformed embeddings."""

    means: Tensor
    inverses: Tensor

    @staticmethod
    def of(embeddings: Tensor, groups: Tensor, diagonal: float, others: float) -> tuple[Distributions, Tensor]:
        """Those of all groups of two or more, and the ``(K,)`` names of these groups.

        Raises:
            UserError: there are fewer than two such groups.
        """
        names, counts = torch.unique(groups, return_counts=True)
        names = names[counts > 1]
        if len(names) < 2:
            raise UserError(
                "scar needs unseen images of two kinds or more, and the model finds one; give more of them."
            )
        parts = [tukey(embeddings[groups == name].double()) for name in names]
        means = torch.stack([F.normalize(part.mean(0), dim=0) for part in parts])
        inverses = torch.stack([shrunk_inverse(part, diagonal, others) for part in parts])
        return Distributions(means.to(embeddings.dtype), inverses.to(embeddings.dtype)), names

    def distances(self, embeddings: Tensor) -> Tensor:
        """Squared Mahalanobis distances ``(B, K)`` of ``(B, D)`` embeddings to all groups: ``(z − μ)ᵀ Σ⁻¹ (z − μ)``
        with z the transformed embedding at unit length.
        """
        rows = F.normalize(tukey(embeddings))
        away = [rows - mean for mean in self.means]
        return torch.stack([((d @ s) * d).sum(1) for d, s in zip(away, self.inverses, strict=True)], 1)


class SCARConfig(TrainConfig):
    """``forget_weight * distance to the other distribution + surrogate_weight * distillation``; the paper's values."""

    epochs: int = Field(default=10, ge=1, description="passes over the longer of forget and surrogate images")
    lr: float = Field(default=5e-4, gt=0, description="Adam's learning rate")
    forget_weight: float = Field(default=1.0, ge=0)
    surrogate_weight: float = Field(default=5.0, ge=0)
    temperature: float = Field(default=1.0, gt=0, description="of the distilled answers")
    diagonal: float = Field(default=3.0, gt=0, description="gamma 1: how much of the mean variance is added")
    others: float = Field(default=3.0, ge=0, description="gamma 2: how much of the mean covariance is added")
    clusters: int = Field(default=10, ge=2, description="groups of surrogate images where there is no classifier")
    target: float = Field(
        default=0.01, ge=0, le=1, description="stop after an epoch that leaves this share in their own distribution"
    )


class SCAR(Forgetter[SCARConfig]):
    """Pull forget embeddings to the nearest other distribution; distil the original on images it never met."""

    name = "scar"
    does = "forget embeddings to the nearest other group, the rest held by images it never met, which it needs"
    Config = SCARConfig
    needs_retain = False
    needs_unseen = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[SCARConfig]) -> Classifier:
        c, device, surrogates = frame.config, frame.device, data.need_unseen(self.name)
        known, gone = (embed_all(model, images, device) for images in (surrogates, data.forget))
        answers = apply_head(model, known)
        groups = answers.argmax(1) if model.head is not None else kmeans(known, c.clusters, frame.seed)
        near, names = Distributions.of(known, groups, c.diagonal, c.others)

        def group_of(embeddings: Tensor) -> Tensor:
            if model.head is not None:
                return apply_head(model, embeddings).argmax(1)
            return names[near.distances(embeddings).argmin(1)]

        own, barred = group_of(gone), torch.zeros(len(names), dtype=torch.bool, device=gone.device)
        if data.task == "class":
            barred = torch.stack([(own == n).float().mean() > (groups == n).float().mean() for n in names])
            stay = np.flatnonzero(~torch.isin(groups, names[barred]).cpu().numpy())
            surrogates, answers = surrogates.subset(stay), answers[stay]
        if bool(barred.all()) or len(surrogates) == 0:
            raise UserError("scar: all images the model never met look like those to forget; give more of them.")
        goal = near.distances(gone).masked_fill((own[:, None] == names) | barred, torch.inf).argmin(1)

        def loss(rows: Rows, forget_rows: Rows) -> Tensor:
            batch, unwanted = surrogates.batch(rows, device), data.forget.batch(forget_rows, device)
            embeddings = model.embed(torch.cat([batch, unwanted]))
            held = embeddings[: len(rows)]
            outputs = held if model.head is None else model.head(held)
            pull = near.distances(embeddings[len(rows) :]).gather(1, taken(goal, forget_rows)[:, None]).mean()
            hold = mismatch(outputs, taken(answers, rows), c.temperature, answers=model.head is not None)
            return c.forget_weight * pull + c.surrogate_weight * hold

        def moved() -> bool:
            stays = group_of(embed_all(model, data.forget, device)) == own
            return bool(stays.float().mean() <= c.target)

        train_paired(model, ForgetData(surrogates, data.forget), frame, "scar", loss, stop=moved)
        return model


def kmeans(embeddings: Tensor, clusters: int, seed: int) -> Tensor:
    """The group ``(N,)`` of each of ``(N, D)`` embeddings, found by k-means."""
    found = KMeans(min(clusters, len(embeddings)), n_init=4, random_state=rng.derive("scar", seed) % 2**32)
    return torch.as_tensor(found.fit_predict(embeddings.cpu().numpy()), device=embeddings.device).long()
