"""ℓ1-sparse fine-tuning: sparsity makes fine-tuning forget more (Jia et al., NeurIPS 2023)."""

from __future__ import annotations

import torch
from pydantic import Field

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, TrainConfig, need_labels
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.methods.retrain import train_classifier


class L1SparseConfig(TrainConfig):
    """Fine-tuning on the retain set plus ``gamma * ‖θ‖₁``, gamma falling linearly to 0 over the epochs."""

    gamma: float = Field(default=5e-4, ge=0, description="weight of the L1 penalty in the first epoch")


class L1Sparse(Forgetter):
    """Fine-tune under a decaying L1 penalty on all parameters."""

    name = "l1_sparse"
    Config = L1SparseConfig
    needs_labels = True
    needs_head = True

    def __init__(self, config: L1SparseConfig | None = None) -> None:
        self.config: L1SparseConfig = config or L1SparseConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        return train_classifier(
            model,
            need_labels(data.retain, self.name),
            self.config,
            seed=seed,
            device=device,
            checkpoint=checkpoint,
            stage="l1-sparse",
            l1=(self.config.gamma, self.config.epochs),
        )
