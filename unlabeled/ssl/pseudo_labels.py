"""Pseudo-labels without labels: cluster the latents of a denoising autoencoder. Cached and resumable."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from unlabeled.core import rng
from unlabeled.core.arrays import load_array, save_array
from unlabeled.core.config import Config
from unlabeled.core.extras import extra
from unlabeled.core.files import atomic_write, locked, sweep
from unlabeled.core.progress import progress
from unlabeled.heads.autoencoder import Autoencoder
from unlabeled.ssl.method import Images

Array = np.ndarray[Any, Any]


class AutoencoderConfig(Config):
    """How the denoising autoencoder is trained; Adam, mean squared error on the clean pixels."""

    epochs: int = Field(5, ge=1)
    batch_size: int = Field(64, ge=2)
    lr: float = Field(1e-3, gt=0, description="Adam's learning rate")
    noise: float = Field(0.01, ge=0, description="deviation of the Gaussian noise, for pixels in [0, 1]")


def pseudo_labels(
    images: Images,
    channels: int,
    clusters: int,
    config: AutoencoderConfig,
    *,
    seed: int,
    cache: Path,
    device: torch.device,
) -> Array:
    """Give every image one of ``clusters`` pseudo-labels.

    What was computed for the same images, settings and seed is read from ``cache``; an interrupted training
    goes on from there. Only one process works, others wait for its result.

    Returns:
        ``(N,)`` int64.
    """
    key = rng.derive(images.fingerprint, seed, config.model_dump_json())
    folder = cache / f"autoencoder-{key:016x}"
    with locked(folder / ".lock", waiting="another process makes these pseudo-labels"):
        sweep(folder)
        latents_file, labels_file = folder / "latents.npy", folder / f"clusters-{clusters}.npy"
        labels = load_array(labels_file, np.int64, (len(images),))
        if labels is None:
            points = load_array(latents_file, np.float32, (len(images), Autoencoder.latent_dim))
            if points is None:
                file = folder / "training.pt"
                model = train_autoencoder(images, channels, config, seed=seed, file=file, device=device)
                points = latents(model, images, device)
                save_array(latents_file, points)
            (folder / "training.pt").unlink(missing_ok=True)
            labels = kmeans(points, clusters, seed)
            save_array(labels_file, labels)
        return labels


def _pixels(images: Images, rows: Array, device: torch.device) -> Tensor:
    return images.gather(rows).to(device).float() / 255


def train_autoencoder(
    images: Images, channels: int, config: AutoencoderConfig, *, seed: int, file: Path, device: torch.device
) -> Autoencoder:
    """Train the denoising autoencoder; every half minute its state goes to ``file``, from where it goes on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive(seed, "autoencoder"))
        model = Autoencoder(channels)
    layout: Any = model.to(device)
    layout.to(memory_format=torch.channels_last)  # a third less time on CPUs
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    size = min(config.batch_size, len(images))
    per_epoch = len(images) // size
    total, done = config.epochs * per_epoch, 0
    state = _training_state(file, device)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["done"]

    def save(step: int) -> None:
        buffer = io.BytesIO()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": step}, buffer)
        atomic_write(file, lambda handle: handle.write(buffer.getbuffer()))

    saved = time.monotonic()
    with progress("autoencoder", total, done, unit="step") as tick:
        for step in range(done, total):
            epoch, number = divmod(step, per_epoch)
            if step == done or number == 0:
                order = rng.numpy_generator(seed, "autoencoder", epoch).permutation(len(images))
            clean = _pixels(images, order[number * size : (number + 1) * size], device)
            noise = torch.randn(clean.shape, generator=rng.torch_generator(seed, "noise", step)).to(device)
            loss = F.mse_loss(model(clean + config.noise * noise), clean)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            tick(1, f"mse {loss.item():.4f}" if step % 20 == 0 else "")
            if time.monotonic() - saved > 30:
                save(step + 1)
                saved = time.monotonic()
    save(total)
    return model


def _training_state(file: Path, device: torch.device) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    except Exception:  # a missing or damaged state: the training starts again
        return None
    return state if {"model", "optimizer", "done"} <= set(state) else None


@torch.inference_mode()
def latents(model: Autoencoder, images: Images, device: torch.device) -> Array:
    """Globally average-pooled latents of all images in eval mode, ``(N, 128)`` float32."""
    model.eval()
    parts = np.array_split(np.arange(len(images), dtype=np.int64), max(1, len(images) // 512))
    return np.concatenate([model.latent(_pixels(images, rows, device)).cpu().numpy() for rows in parts])


def kmeans(points: Array, clusters: int, seed: int) -> Array:
    """Assign ``(N, D)`` points to ``clusters`` clusters found by faiss; ``(N,)`` int64."""
    faiss: Any = extra("faiss", "faiss", "clustering")
    search = faiss.Kmeans(
        points.shape[1],
        clusters,
        niter=25,
        seed=rng.derive(seed, "kmeans") % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=max(256, -(-len(points) // clusters)),  # all points: nothing is left to sampling
    )
    search.train(np.ascontiguousarray(points, dtype=np.float32))
    nearest: Array = search.index.search(np.ascontiguousarray(points, dtype=np.float32), 1)[1][:, 0]
    return nearest.astype(np.int64)
