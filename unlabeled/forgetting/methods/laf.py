"""LAF: label-agnostic forgetting (Shen et al., ICLR 2024)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.core.device import send, taken
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.epochs import Epoch, adam, descend, mean_loss, run_epochs
from unlabeled.forgetting.frame import ForgetterConfig, Frame
from unlabeled.forgetting.training.stopping import OwnAnswers, StoppingRule, rule_of
from unlabeled.forgetting.training.vae import EmbeddingVAE, train_vae

RELEASED_EPOCHS = 20
LEAST_STEPS = 800
"""Of the default: 50 of 2,000 images are two steps a pass, and twenty passes over them leave a network as it was."""
TEMPERATURES = {"data": 5.0, "class": 20.0, "noisy": 20.0}
"""Of the released code, by what is to go (2-conv network)."""


class LAFConfig(ForgetterConfig):
    """The defaults are the released settings for the CNN, except the decoder and the sampling noise."""

    tunes = (("lr_ue", 1e-5, 1e-3), ("lr_ra", 1e-5, 1e-3))

    epochs: int | None = Field(
        default=None, ge=1, description="passes over the forget set; None: 20 as released, but at least 800 steps"
    )
    batch_size: int = Field(default=32, ge=1, description="retain images, and forget images, in a step")
    lr_ue: float = Field(default=5e-5, gt=0, description="learning rate of the unlearning step")
    lr_ra: float = Field(default=1e-4, gt=0, description="learning rate of the alignment step")
    temperature: float | None = Field(
        default=None, gt=0, description="tau of the alignment loss; None: as released, 5 (classes and wrong labels: 20)"
    )
    phi: Literal["normalised", "squared"] = Field(
        default="normalised", description="'normalised': exp(m / (m + 1)) as released; 'squared': m itself"
    )
    latent: int = Field(default=8, ge=1, description="dimensions of the VAEs' codes (paper: 8 CNN, 16 ResNet)")
    decoder: Literal["linear", "sigmoid"] = Field(
        default="linear", description="'sigmoid' reproduces the released code on unbounded embeddings"
    )
    noise: bool = Field(default=False, description="leave the VAEs' sampling on while unlearning, as released")
    vae_epochs: int = Field(default=10, ge=1)
    vae_batch_size: int = Field(default=32, ge=1)
    vae_lr: float = Field(default=1e-3, gt=0)
    kl_weight: float = Field(default=0.025, ge=0)
    max_retain: int | None = Field(
        default=None, ge=1, description="use at most this many retain images; None: all, as in the paper"
    )
    stop: Literal["never", "unseen", "answers"] | None = Field(
        default=None,
        description="'unseen': once forget images look like images the model never met; 'answers' (for whole classes): "
        "once hardly any forget image gets an answer that only they got; 'never': all steps; None: 'unseen' for single "
        "images of a classifier where there are unseen ones, else 'never'",
    )
    stop_share: float = Field(
        default=0.05, ge=0, lt=1, description="stop=answers: the share of forget images that may still get one"
    )
    stop_every: int = Field(default=10, ge=1, description="steps between looks at the stopping rule")


def passes(epochs: int | None, retain: int, forget: int, batch_size: int) -> int:
    """Passes over the forget set: what was asked for, or the released number, and more where the set is small.

    >>> passes(None, 48_000, 12_000, 32), passes(None, 1950, 50, 32), passes(3, 1950, 50, 32)
    (20, 400, 3)
    """
    steps = -(-min(retain, forget) // batch_size)
    return epochs if epochs is not None else max(RELEASED_EPOCHS, -(-LEAST_STEPS // steps))


def phi(error: Tensor, form: Literal["normalised", "squared"]) -> Tensor:
    """The discrepancy of a squared error m: ``exp(m / (m + 1))``, or m."""
    return (error / (error + 1)).exp() if form == "normalised" else error


def unlearning_loss(retain_error: Tensor, forget_error: Tensor, form: Literal["normalised", "squared"]) -> Tensor:
    """L_UE = Σ_retain φ(‖h(g(x)) − g(x)‖²) − Σ_forget φ(‖h_f(g(x)) − g(x)‖²) (paper, eq. 7)."""
    return phi(retain_error, form).sum() - phi(forget_error, form).sum()


def alignment_loss(retain: Tensor, retain0: Tensor, forget: Tensor, forget0: Tensor, temperature: float) -> Tensor:
    """L_RA = Σ_i d_i − B_r log Σ_j exp(d_j / τ), d = 1 − cos(g(x), g₀(x)) (paper, eq. 8).

    Args:
        retain, retain0: ``(B_r, D)`` embeddings of retain images, of the model and of the original.
        forget, forget0: ``(B_f, D)``, likewise of forget images.
    """
    stay = 1 - F.cosine_similarity(retain, retain0)
    go = 1 - F.cosine_similarity(forget, forget0)
    return stay.sum() - len(stay) * torch.logsumexp(go / temperature, 0)


class LAF(Forgetter[LAFConfig]):
    """Two VAEs describe the embeddings of the training set and of the forget set; the extractor is drawn to the
    first and pushed from the second, and aligned with the original on retain images.

    The head is frozen; the extractor stays in eval mode (its BatchNorm statistics are fixed). No label is read.
    """

    name = "laf"
    does = "draws retain embeddings to what the training set looks like, pushes forget ones from it (Shen 2024)"
    Config = LAFConfig

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[LAFConfig]) -> Classifier:
        c, device = frame.config, frame.device
        model.eval()
        if model.head is not None:
            model.head.requires_grad_(False)
        retain = data.retain
        if c.max_retain is not None and c.max_retain < len(retain):
            picked = rng.numpy_generator("laf", "retain", frame.seed).permutation(len(retain))[: c.max_retain]
            retain = retain.subset(np.sort(picked).astype(np.int64))
        original = embed_all(model, retain, device), embed_all(model, data.forget, device)
        vaes = _vae(torch.cat(original), frame, "laf-vae"), _vae(original[1], frame, "laf-vae-forget")
        rule = self._rule(model, data, original, frame)
        _alternate(model, replace(data, retain=retain), original, vaes, frame, rule)
        return model

    def _rule(
        self, model: Classifier, data: ForgetData, original: tuple[Tensor, Tensor], frame: Frame[LAFConfig]
    ) -> StoppingRule:
        c = frame.config
        if c.stop != "answers":
            return rule_of(model, data, frame)
        weight = len(data.retain) / len(original[0])
        return OwnAnswers(model, *original, weight, data, frame.device, frame.seed, c.stop_share, c.stop_every)


def _vae(embeddings: Tensor, frame: Frame[LAFConfig], stage: str) -> EmbeddingVAE:
    c = frame.config
    return train_vae(
        embeddings,
        frame,
        stage,
        latent=c.latent,
        decoder=c.decoder,
        epochs=c.vae_epochs,
        batch_size=c.vae_batch_size,
        lr=c.vae_lr,
        kl_weight=c.kl_weight,
    )


def _alternate(
    model: Classifier,
    data: ForgetData,
    original: tuple[Tensor, Tensor],
    vaes: tuple[EmbeddingVAE, EmbeddingVAE],
    frame: Frame[LAFConfig],
    rule: StoppingRule,
) -> None:
    """The alternating steps: each batch pair first unlearns, then aligns, with an Adam of its own each.

    Args:
        original: the original's embeddings of retain and of forget images.
        vaes: of all embeddings, and of those of the forget images.
    """
    c, device = frame.config, frame.device
    temperature = c.temperature or TEMPERATURES[data.task]
    unlearn, align = adam(model.parameters(), c.lr_ue), adam(model.parameters(), c.lr_ra)

    def noise(rows: int, *key: int | str) -> Tensor | None:
        if not c.noise:
            return None
        return send(torch.randn(rows, c.latent, generator=rng.torch_generator("laf", frame.seed, *key)), device)

    def epoch(number: int) -> Epoch:
        pairs = zip(
            data.retain.positions(c.batch_size, ("laf", "retain", frame.seed, number)),
            data.forget.positions(c.batch_size, ("laf", "forget", frame.seed, number)),
            strict=False,
        )
        losses: list[Tensor] = []
        for step, (retain, forget) in enumerate(pairs):
            if not len(forget := rule.still(forget)):
                continue
            for optimiser, lr in ((unlearn, c.lr_ue), (align, c.lr_ra)):
                optimiser.param_groups[0]["lr"] = lr * rule.pace
            images, cut = torch.cat([data.retain.batch(retain, device), data.forget.batch(forget, device)]), len(retain)
            embeddings = model.embed(images)
            loss = unlearning_loss(
                vaes[0].error(embeddings[:cut], noise(cut, number, step, "retain")),
                vaes[1].error(embeddings[cut:], noise(len(forget), number, step, "forget")),
                c.phi,
            )
            losses.append(descend(loss, unlearn) / cut)
            embeddings = model.embed(images)
            before = taken(original[0], retain), taken(original[1], forget)
            descend(alignment_loss(embeddings[:cut], before[0], embeddings[cut:], before[1], temperature), align)
            if rule(model):
                return Epoch(mean_loss(losses), stop=True)
        return Epoch(mean_loss(losses))

    epochs = passes(c.epochs, len(data.retain), len(data.forget), c.batch_size)
    run_epochs(
        "laf", epochs, {"model": model, "unlearn": unlearn, "align": align, "rule": rule}, epoch, frame.checkpoint
    )
    rule.finish(model, frame.checkpoint)
