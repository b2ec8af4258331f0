from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import homogeneity_score

from unlabeled.core.errors import UserError
from unlabeled.ssl import pseudo_labels as stage
from unlabeled.ssl.gsimclr import GSimCLR, GSimCLRConfig
from unlabeled.ssl.method import Batch
from unlabeled.ssl.pseudo_labels import AutoencoderConfig, kmeans, pseudo_labels, train_autoencoder
from unlabeled.ssl.simclr import nt_xent

CPU = torch.device("cpu")
QUICK = AutoencoderConfig(epochs=2, batch_size=16)


class Images:
    """Noisy squares at one of four places and brightnesses, without labels."""

    def __init__(self, count=96, seed=0):
        draw = np.random.default_rng(seed)
        self.kind = draw.integers(0, 4, count)
        pixels = draw.integers(0, 20, (count, 1, 12, 12))
        for image, kind in zip(pixels, self.kind, strict=True):
            image[0, 2 : 4 + 2 * kind, 2:9] += 40 + 60 * kind
        self.pixels = pixels.clip(0, 255).astype(np.uint8)
        self.fingerprint = f"squares-{count}-{seed}"
        self.reads = 0

    def __len__(self):
        return len(self.pixels)

    def gather(self, rows):
        self.reads += 1
        return torch.from_numpy(self.pixels[rows])


@pytest.fixture
def small(info):
    return dataclasses.replace(info, num_images=96, height=12, width=12)


def build(resnet, info, **settings):
    return GSimCLR(GSimCLRConfig(autoencoder=QUICK, **settings), resnet(), info)


def prepare(method, images, cache, batch_size=8):
    method.prepare(images, seed=0, batch_size=batch_size, cache=cache, device=CPU)


def test_prepared_batches_hold_no_pseudo_label_twice(resnet, small, tmp_path):
    method, images = build(resnet, small), Images()
    assert method.needs_prepare
    prepare(method, images, tmp_path)
    labels = method.pseudo_labels.numpy()
    assert labels.min() >= 0
    assert len(np.unique(labels)) > 8
    sampler = method.sampler(8)
    for epoch in range(3):
        rows = sampler.epoch(0, epoch)
        assert all(len(np.unique(labels[batch])) == 8 for batch in rows)


def test_the_second_time_nothing_is_computed(resnet, small, tmp_path):
    first, second, images = build(resnet, small), build(resnet, small), Images()
    prepare(first, images, tmp_path)
    reads = images.reads
    prepare(second, images, tmp_path)
    assert images.reads == reads
    assert torch.equal(first.pseudo_labels, second.pseudo_labels)
    other = Images(seed=1)  # other images: another entry
    prepare(second, other, tmp_path)
    assert other.reads > 0
    recluster = build(resnet, small, clusters=10)  # other clusters: the autoencoder is not trained again
    prepare(recluster, images, tmp_path)
    assert images.reads == reads
    assert recluster.pseudo_labels.max() == 9


def test_an_interrupted_autoencoder_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = train_autoencoder(Images(), 1, QUICK, seed=0, file=tmp_path / "whole.pt", device=CPU)

    class Stopping(Images):
        def gather(self, rows):
            if self.reads == 7:
                raise KeyboardInterrupt
            return super().gather(rows)

    clock = iter(range(0, 10**6, 31))
    monkeypatch.setattr(stage.time, "monotonic", lambda: next(clock))  # every step is a time to save
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(Stopping(), 1, QUICK, seed=0, file=tmp_path / "cut.pt", device=CPU)
    rest = Images()
    resumed = train_autoencoder(rest, 1, QUICK, seed=0, file=tmp_path / "cut.pt", device=CPU)
    assert rest.reads == 5  # 12 steps in all, 7 done before
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_pseudo_labels_follow_the_images(tmp_path):
    images = Images(192)
    config = AutoencoderConfig(epochs=10, batch_size=16)
    labels = pseudo_labels(images, 1, 12, config, seed=0, cache=tmp_path, device=CPU)
    assert homogeneity_score(images.kind, labels) > 0.8
    assert not list(Path(tmp_path).rglob("training.pt"))


def test_autoencoder_denoises(tmp_path):
    images = Images()
    config = AutoencoderConfig(epochs=15, batch_size=16)
    model = train_autoencoder(images, 1, config, seed=0, file=tmp_path / "training.pt", device=CPU).eval()
    clean = images.gather(np.arange(96)).float() / 255
    with torch.no_grad():
        error = (model(clean + 0.01 * torch.randn_like(clean)) - clean).square().mean()
    assert error < 0.3 * clean.var()


def test_kmeans_agrees_with_nearest_centroids():
    points = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    labels = kmeans(points, 7, seed=0)
    assert np.array_equal(labels, kmeans(points, 7, seed=0))
    centroids = np.stack([points[labels == c].mean(0) for c in range(7)])
    nearest = ((points[:, None] - centroids) ** 2).sum(-1).argmin(1)
    assert (nearest == labels).mean() > 0.95


def test_pseudo_labels_are_in_the_checkpoint(resnet, small, tmp_path):
    method, other = build(resnet, small), build(resnet, small)
    prepare(method, Images(), tmp_path)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.pseudo_labels, method.pseudo_labels)


def test_the_loss_is_simclrs_at_the_papers_temperature(resnet, info, step):
    method = build(resnet, info)
    views = [torch.randn(8, 1, 28, 28) for _ in range(2)]
    loss = method(Batch(views, torch.arange(8)), step)["loss"]
    z1, z2 = method.head(method.backbone(torch.cat(views))).chunk(2)
    torch.testing.assert_close(loss, nt_xent(z1, z2, 0.1))


def test_what_cannot_be_clustered_is_refused(resnet, info, small, tmp_path):
    with pytest.raises(UserError, match=r"clusters 4 is less than batch_size 8.*set method.clusters to 16"):
        prepare(build(resnet, small, clusters=4), Images(), tmp_path)
    with pytest.raises(UserError, match=r"clusters 48 is less than batch_size 64.*; set batch_size=48 or less"):
        prepare(build(resnet, small), Images(), tmp_path, batch_size=64)  # 96 images make no 128 clusters
    with pytest.raises(UserError, match=r"more than there are images \(96\)"):
        prepare(build(resnet, small, clusters=97), Images(), tmp_path)
    with pytest.raises(UserError, match="at least 8x8 pixels"):
        build(resnet, dataclasses.replace(info, height=6, width=6))
