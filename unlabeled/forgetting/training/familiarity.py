"""How well a network seems to know an image: asked of the network alone, no label is read."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.images import UnlabelledImages


class Familiarity:
    """Compares images to forget with unseen ones, as a model came to know them and as it knows them now.

    With a head an image is known by the log-odds of the original's answer to it, ``z_a − log Σ_others exp z``; the
    original is asked, no label is. Without one, by the mean cosine of its embedding to those of its mirror image and of
    shifts by a pixel; an encoder holds views of an image it met closer together (EncoderMI, Liu, Jia, Qu and Gong,
    CCS 2021).

    Args:
        original: the model before anything was forgotten.
        forget, unseen: the images.
        device: where to compute.
    """

    def __init__(
        self, original: Classifier, forget: UnlabelledImages, unseen: UnlabelledImages, device: torch.device | str
    ) -> None:
        self._sets, self._device = (forget, unseen), device
        self._answers = [_answers(original, images, device) for images in self._sets]

    def __call__(self, model: Classifier) -> tuple[Tensor, Tensor]:
        """How well ``model`` knows each image to forget, and each unseen one; larger is better, on the CPU."""
        forget, unseen = (
            _closeness(model, images, self._device)
            if model.head is None
            else log_odds(apply_head(model, embed_all(model, images, self._device)), answers)
            for images, answers in zip(self._sets, self._answers, strict=True)
        )
        return forget.cpu(), unseen.cpu()


def log_odds(logits: Tensor, answers: Tensor) -> Tensor:
    """``log p / (1 − p)`` of the probability that ``(N, K)`` logits give to each of ``(N,)`` answers."""
    chosen = logits.gather(1, answers[:, None])
    return chosen[:, 0] - logits.scatter(1, answers[:, None], -torch.inf).logsumexp(1)


def _answers(original: Classifier, images: UnlabelledImages, device: torch.device | str) -> Tensor:
    return apply_head(original, embed_all(original, images, device)).argmax(1)


@torch.no_grad()
def _closeness(model: Classifier, images: UnlabelledImages, device: torch.device | str) -> Tensor:
    mode = model.training
    model.eval()
    found = []
    for batch in images.batches(256, device):
        home = model.embed(batch)
        views = [batch.flip(3), *(batch.roll(by, dim) for dim in (2, 3) for by in (1, -1))]
        found.append(torch.stack([F.cosine_similarity(home, model.embed(view)) for view in views]).mean(0))
    model.train(mode)
    return torch.cat(found)


def told_apart(left: Tensor, right: Tensor) -> float:
    """P(a of ``left`` > b of ``right``), ties counted half: the AUC of calling the larger one a member.

    >>> told_apart(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]))
    0.875
    """
    right, left = right.sort().values, left.contiguous()
    below, upto = (torch.searchsorted(right, left, right=side) for side in (False, True))
    return float((below + upto).double().mean() / (2 * len(right)))
