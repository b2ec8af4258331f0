"""ℓ1-sparse fine-tuning: sparsity makes fine-tuning forget more (Jia et al., NeurIPS 2023)."""

from __future__ import annotations

from pydantic import Field

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.training.supervised import train_classifier


class L1SparseConfig(TrainConfig):
    """Fine-tuning on the retain set plus ``gamma * ‖θ‖₁``, gamma falling linearly to 0 over the epochs."""

    gamma: float = Field(default=5e-4, ge=0, description="weight of the L1 penalty in the first epoch")


class L1Sparse(Forgetter[L1SparseConfig]):
    """Fine-tune under a decaying L1 penalty on all parameters."""

    name = "l1_sparse"
    does = "the same under a decaying L1 penalty"
    Config = L1SparseConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[L1SparseConfig]) -> Classifier:
        penalty = frame.config.gamma, frame.config.epochs
        return train_classifier(model, need_labels(data.retain, self.name), frame, "l1-sparse", l1=penalty)
