"""G-SimCLR: SimCLR whose batches hold no two images of one pseudo-label, so that negatives are negatives.

Chakraborty, Gosthipaty and Paul, "G-SimCLR: self-supervised contrastive learning with guided projection
via pseudo labelling", ICDM workshops 2020, https://arxiv.org/abs/2009.12007.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core.errors import UserError
from unlabeled.core.progress import say
from unlabeled.ssl.method import DataInfo, Images
from unlabeled.ssl.pseudo_labels import AutoencoderConfig, pseudo_labels
from unlabeled.ssl.samplers import DiverseBatches
from unlabeled.ssl.simclr import ContrastiveConfig, SimCLR


class GSimCLRConfig(ContrastiveConfig):
    name: Literal["gsimclr"] = "gsimclr"
    temperature: float = Field(0.1, gt=0, description="tau of NT-Xent")
    clusters: int | None = Field(
        None,
        ge=2,
        description="pseudo-labels, at least the batch size (the paper's choice); default: 4 per image of it",
    )
    autoencoder: AutoencoderConfig = AutoencoderConfig()


class GSimCLR(SimCLR):
    """SimCLR on guided batches.

    The published code shuffles once and lets late batches collide more often than random ones; here every
    batch of every epoch holds the property exactly (``DiverseBatches``), over all ranks. With as many clusters
    as images in a batch the smallest cluster would end the epoch, hence the larger default.
    """

    Config = GSimCLRConfig
    needs_prepare = True
    pseudo_labels: Tensor

    def __init__(self, config: GSimCLRConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        if min(info.height, info.width) < 8:
            raise UserError(
                f"the method 'gsimclr' needs images of at least 8x8 pixels for its autoencoder, not {info.height}x"
                f"{info.width}; set data.size."
            )
        self.register_buffer("pseudo_labels", torch.full((info.num_images,), -1, dtype=torch.int64))

    def _clusters(self, batch_size: int) -> int:
        return self.config.clusters or min(4 * batch_size, self.info.num_images // 2)

    def check(self, batch_size: int) -> None:
        """Make sure that there can be enough clusters.

        Raises:
            UserError: fewer clusters than images in a batch, or fewer images than clusters.
        """
        clusters, images = self._clusters(batch_size), self.info.num_images
        if clusters < batch_size:
            more = f"set method.clusters to {2 * batch_size} or more, or " if 2 * batch_size <= images else "set "
            raise UserError(
                f"method.clusters {clusters} is less than batch_size {batch_size}, and a batch takes one image of a "
                f"cluster; {more}batch_size={clusters} or less."
            )
        if clusters > images:
            raise UserError(
                f"method.clusters {clusters} is more than there are images ({images}); "
                f"set method.clusters to {images // 2} or less."
            )

    def prepare(self, images: Images, *, seed: int, batch_size: int, cache: Path, device: torch.device) -> None:
        """Train the denoising autoencoder, cluster its latents, keep the pseudo-labels."""
        self.check(batch_size)
        clusters = self._clusters(batch_size)
        labels = pseudo_labels(
            images, self.info.channels, clusters, self.config.autoencoder, seed=seed, cache=cache, device=device
        )
        self.pseudo_labels.copy_(torch.from_numpy(labels))
        used = self.sampler(batch_size).batches * batch_size / len(images)
        say(f"gsimclr: {clusters} pseudo-labels; an epoch's batches hold {used:.0%} of the images")

    def sampler(self, batch_size: int) -> DiverseBatches:
        """Batches without two images of one pseudo-label."""
        return DiverseBatches(self.pseudo_labels.cpu().numpy(), batch_size)
