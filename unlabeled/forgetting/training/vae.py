"""The variational autoencoder on embeddings that LAF uses as a description of a set of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from unlabeled.core import rng
from unlabeled.core.device import send
from unlabeled.forgetting.epochs import adam, train_epochs
from unlabeled.forgetting.frame import ForgetterConfig, Frame


class EmbeddingVAE(nn.Module):
    """Encoder D -> 128 -> 32 -> (mu, log variance) of ``latent`` dimensions, and the mirrored decoder.

    Args:
        dim: D, size of the embedding.
        latent: dimensions of the code.
        decoder: ``"linear"`` output, or the ``"sigmoid"`` of the released code, which cannot reach embeddings
            outside (0, 1) and so has an error that no training removes.
    """

    def __init__(self, dim: int, latent: int = 8, decoder: Literal["linear", "sigmoid"] = "linear") -> None:
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
        self.moments = nn.Linear(32, 2 * latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, 32), nn.ReLU(), nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, dim)
        )
        self.squash = decoder == "sigmoid"

    def encode(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, ``(B, latent)`` each, for ``(B, D)`` embeddings."""
        moments: Tensor = self.moments(self.encoder(embeddings))
        return moments[:, : self.latent], moments[:, self.latent :]

    def decode(self, codes: Tensor) -> Tensor:
        """Return ``(B, D)`` reconstructions."""
        out: Tensor = self.decoder(codes)
        return torch.sigmoid(out) if self.squash else out

    def forward(self, embeddings: Tensor, noise: Tensor | None = None) -> Tensor:
        """Reconstruct ``(B, D)``: from the mean, or from ``mean + noise * deviation`` (``noise`` ~ N(0, 1))."""
        mean, log_variance = self.encode(embeddings)
        return self.decode(mean if noise is None else mean + noise * (0.5 * log_variance).exp())

    def error(self, embeddings: Tensor, noise: Tensor | None = None) -> Tensor:
        """Squared reconstruction error ``||h(e) - e||²`` of each embedding, ``(B,)``."""
        rebuilt: Tensor = self(embeddings, noise)
        return (rebuilt - embeddings).square().sum(1)

    def loss(self, embeddings: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """``(sum (ê - e)² + kl_weight * KL) / B``."""
        mean, log_variance = self.encode(embeddings)
        rebuilt = self.decode(mean + noise * (0.5 * log_variance).exp())
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
        loss: Tensor = ((rebuilt - embeddings).square().sum() + kl_weight * kl) / len(embeddings)
        return loss


def train_vae(
    embeddings: Tensor,
    frame: Frame[ForgetterConfig],
    stage: str,
    *,
    latent: int,
    decoder: Literal["linear", "sigmoid"],
    epochs: int,
    batch_size: int,
    lr: float,
    kl_weight: float,
) -> EmbeddingVAE:
    """Fit a VAE to ``(N, D)`` embeddings and freeze it; ``stage`` names it among the checkpoints."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive(*frame.key(stage)))
        vae = EmbeddingVAE(embeddings.shape[1], latent, decoder)
    vae = vae.to(embeddings.device)

    def losses(number: int) -> Iterator[Tensor]:
        generator = rng.torch_generator(*frame.key(stage, number))
        order = torch.randperm(len(embeddings), generator=generator)
        noise = send(torch.randn(len(embeddings), latent, generator=generator), embeddings.device)
        for start in range(0, len(order), batch_size):
            rows = send(order[start : start + batch_size], embeddings.device)
            yield vae.loss(embeddings[rows], noise[start : start + len(rows)], kl_weight)

    train_epochs(stage, epochs, vae, adam(vae.parameters(), lr), losses, frame.checkpoint)
    return vae.eval().requires_grad_(False)
