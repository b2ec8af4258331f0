"""ℓ1-sparse fine-tuning: sparsity makes fine-tuning forget more (Jia et al., NeurIPS 2023)."""

from __future__ import annotations

from pydantic import Field

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.training.objective import train_on_retain
from unlabeled.forgetting.training.own import objective_of


class L1SparseConfig(TrainConfig):
    """Fine-tuning on the retain set plus ``gamma * ‖θ‖₁``, gamma falling linearly to 0 over the epochs."""

    gamma: float = Field(default=5e-4, ge=0, description="weight of the L1 penalty in the first epoch")


class L1Sparse(Forgetter[L1SparseConfig]):
    """Fine-tune under a decaying L1 penalty on all parameters that are kept."""

    name = "l1_sparse"
    does = "the same under a decaying L1 penalty"
    Config = L1SparseConfig
    needs_labels = True
    needs_head = True
    own_loss = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[L1SparseConfig]) -> Classifier:
        penalty = frame.config.gamma, frame.config.epochs
        return train_on_retain(objective_of(self, model, data, frame), data.retain, frame, "l1-sparse", l1=penalty)
