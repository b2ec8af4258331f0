"""Encoder unlearning as for image-to-image models: what is to go is embedded as noise, what stays as before.

Li, Hsu, Chen and Marculescu, "Machine unlearning for image-to-image generative models", ICLR 2024,
https://arxiv.org/abs/2402.00351. There the encoder is half of a generative model, whose decoder stays as it is; any
encoder can be unlearnt so, for the loss is on embeddings alone.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from unlabeled.core import rng
from unlabeled.core.device import send, taken
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.frame import ForgetterConfig, Frame, TrainConfig
from unlabeled.forgetting.images import Rows, UnlabelledImages
from unlabeled.forgetting.training.paired import train_paired


class I2IConfig(TrainConfig):
    """``‖E(x) − E₀(x)‖²`` of retain images plus ``weight * ‖E(x) − E₀(n)‖²`` of forget images."""

    weight: float = Field(default=1.0, gt=0, description="alpha, of the forget images")


def unlearning_loss(retain: Tensor, retain0: Tensor, forget: Tensor, noise0: Tensor, weight: float) -> Tensor:
    """``mean ‖E(x_r) − E₀(x_r)‖² + weight · mean ‖E(x_f) − E₀(n)‖²``, the surrogate of section 3.3 of the paper.

    Args:
        retain, retain0: ``(B_r, D)`` embeddings of retain images, of the encoder and of the original.
        forget: ``(B_f, D)`` embeddings of forget images.
        noise0: ``(B_f, D)`` the original's embeddings of noise.
    """
    return (retain - retain0).square().sum(1).mean() + weight * (forget - noise0).square().sum(1).mean()


@torch.no_grad()
def noise_embeddings(model: Classifier, images: UnlabelledImages, frame: Frame[ForgetterConfig]) -> Tensor:
    """``(N, D)``: what ``model`` makes of standard normal noise, an input for each of ``images``."""
    shape = images.batch(next(images.positions(1))).shape[1:]
    found = []
    for number, rows in enumerate(images.positions(256)):
        generator = rng.torch_generator(*frame.key("i2i-noise", number))
        found.append(model.embed(send(torch.randn(len(rows), *shape, generator=generator), frame.device)))
    return torch.cat(found)


class I2I(Forgetter[I2IConfig]):
    """The extractor learns to embed each forget image as an image of noise, and retain images as it did.

    It stays in eval mode: its targets were made with the BatchNorm statistics it has. A head stays as it is.
    """

    name = "i2i"
    does = "forget embeddings to those of noise, retain embeddings kept where they were"
    Config = I2IConfig

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[I2IConfig]) -> Classifier:
        model.eval()
        kept, noise = embed_all(model, data.retain, frame.device), noise_embeddings(model, data.forget, frame)

        def loss(retain_rows: Rows, forget_rows: Rows) -> Tensor:
            model.eval()
            retain, forget = data.retain.batch(retain_rows, frame.device), data.forget.batch(forget_rows, frame.device)
            embeddings, cut = model.embed(torch.cat([retain, forget])), len(retain)
            now = embeddings[:cut], embeddings[cut:]
            return unlearning_loss(
                now[0], taken(kept, retain_rows), now[1], taken(noise, forget_rows), frame.config.weight
            )

        train_paired(model, data, frame, "i2i", loss)
        return model
