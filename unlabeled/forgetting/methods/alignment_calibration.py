"""Alignment Calibration: go on contrasting the retain images, and drive the views of the others apart.

Wang, Lu, Zhang, Boenisch, Dziedzic, Yu and Gao, "MUC: machine unlearning for contrastive learning with black-box
evaluation", TMLR 2025, https://arxiv.org/abs/2406.03603. This is its positive calibration, the one that the released
code has; the paper's further term, on pairs of a forget and another image, is left out.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.training.objective import train_on_both
from unlabeled.forgetting.training.own import OwnTraining


def alignment(projections: Tensor) -> Tensor:
    """Mean cosine similarity of the two views of an image.

    Args:
        projections: ``(B, 2, D)``, of two views of B images.

    >>> from torch import tensor
    >>> float(alignment(tensor([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [3.0, 0.0]]])))
    0.5
    """
    return F.cosine_similarity(projections[:, 0], projections[:, 1]).mean()


class AlignmentCalibrationConfig(TrainConfig):
    """``L(retain) + alpha * alignment(forget)`` with the loss L of the run."""

    epochs: int = Field(default=10, ge=1)
    alpha: float = Field(default=1.0, ge=0, description="weight of the alignment of forget images; released: 0.8 to 2")


class AlignmentCalibration(Forgetter[AlignmentCalibrationConfig]):
    """The run's contrastive loss on retain images; the projections of two views of a forget image away from another."""

    name = "alignment_calibration"
    does = "goes on contrasting the rest, and drives the views of each forget image apart"
    Config = AlignmentCalibrationConfig
    own_loss = True
    ascends = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[AlignmentCalibrationConfig]) -> Classifier:
        training = OwnTraining(data.need_own(self.name), model, frame)

        def loss(retain_rows: Rows, forget_rows: Rows) -> Tensor:
            apart = alignment(training.projections(data.forget, forget_rows, "forget"))
            return training.loss(data.retain, retain_rows, "retain") + frame.config.alpha * apart

        return train_on_both(training, data, frame, "alignment-calibration", loss)
