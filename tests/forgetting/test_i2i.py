from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.frame import Frame
from unlabeled.forgetting.methods.i2i import I2I, I2IConfig, noise_embeddings, unlearning_loss


def test_the_loss_is_the_formula() -> None:
    random = np.random.default_rng(0)
    retain, retain0, forget, noise0 = (torch.tensor(random.normal(size=(n, 3))) for n in (4, 4, 2, 2))
    stay = sum(float(((retain[i] - retain0[i]) ** 2).sum()) for i in range(4)) / 4
    go = sum(float(((forget[i] - noise0[i]) ** 2).sum()) for i in range(2)) / 2
    assert float(unlearning_loss(retain, retain0, forget, noise0, 0.25)) == pytest.approx(stay + 0.25 * go, rel=1e-12)


def test_an_encoder_takes_what_is_to_go_for_noise_and_keeps_the_rest(model: Classifier, data: ForgetData) -> None:
    encoder = Classifier(model.extractor).eval()
    frame = Frame(I2IConfig())
    noise = noise_embeddings(encoder, data.forget, frame)
    assert noise.shape == (len(data.forget), 16)
    assert torch.equal(noise, noise_embeddings(encoder, data.forget, frame))
    assert torch.unique(noise, dim=0).shape == noise.shape, "noise of its own for each image"
    forgot = I2I(I2IConfig(epochs=20, lr=1e-3)).forget(encoder, data, seed=0)
    before, after = ([embed_all(m, images) for images in (data.forget, data.retain)] for m in (encoder, forgot))
    centre = noise.mean(0)
    away = [float((embeddings[0].mean(0) - centre).norm()) for embeddings in (before, after)]
    assert away[0] > float(noise.std(0).norm()), "the positive control: the images were not noise to it"
    assert away[1] < away[0] / 3
    assert float(F.cosine_similarity(before[1], after[1]).mean()) > 0.95
    assert float(F.cosine_similarity(before[0], after[0]).mean()) < 0.8
    assert torch.equal(forgot.extractor[1].running_mean, encoder.extractor[1].running_mean)
