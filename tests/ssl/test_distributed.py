"""Ranks of B / W images give the gradients, and leave the state, of one process with B images.

Run as a script, this file starts all ranks (forked, because importing takes longer than the tests) and
leaves their results in a folder: ``python test_distributed.py FOLDER``.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.distributed
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from unlabeled import backbones
from unlabeled.core import dist
from unlabeled.data import ImageSet
from unlabeled.engine.batches import BatchStream, Schedule
from unlabeled.engine.syncnorm import synchronise_batchnorm
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.methods import METHODS
from unlabeled.ssl.samplers import DiverseBatches

BATCH, STEPS = 8, 3
WORLDS = (4, 2)
PSEUDO_LABELS = np.arange(64) ** 2 % 23  # twelve clusters of unequal sizes
INFO = DataInfo(num_images=64, channels=1, height=8, width=8, num_classes=3, mean=(0.5,), std=(0.5,))
SIZES = {
    "rotation": (8,),
    "simclr": (8, 8),
    "gsimclr": (8, 8),
    "ncl": (8, 8),
    "moco": (8, 8),
    "mocov3": (8, 8),
    "nnclr": (8, 8),
    "byol": (8, 8),
    "byol directly": (8, 8),
    "simsiam": (8, 8),
    "barlow_twins": (8, 8),
    "vicreg": (8, 8),
    "lejepa": (8, 8, 5),
    "visreg": (8, 8, 5),
    "supcon": (8, 8),
    "sla": (8,),
    "swav": (8, 8, 5, 5),
    "swav with a queue": (8, 8, 5),
    "dino": (8, 8, 5),
    "dino with norms": (8, 8, 5),
    "ibot": (8, 8, 4),
    "dinov2": (8, 8, 4),
    "mae": (8,),
    "simmim": (8,),
    "ijepa": (8,),
    "data2vec": (8,),
    "spark": (16,),
    "random_teacher": (8,),
    "supervised": (8,),
    "finetune": (8,),
}
HEAD = {"output_dim": 32, "hidden_dim": 16, "bottleneck_dim": 8}
SETTINGS = {
    "moco": {"projection_dim": 6, "queue": 12, "momentum": 0.5},
    "mocov3": {"hidden_dim": 8, "projection_dim": 6, "momentum": 0.5},
    "nnclr": {"hidden_dim": 8, "predictor_dim": 8, "projection_dim": 6, "queue": 12},
    "byol": {"hidden_dim": 8, "projection_dim": 6, "momentum": 0.5},
    "byol directly": {"hidden_dim": 8, "projection_dim": 4, "momentum": 0.5, "predictor": "directcopy"},
    "simsiam": {"projection_dim": 8, "predictor_dim": 4},
    "barlow_twins": {"projection_dim": 6},
    "vicreg": {"projection_dim": 6},
    "lejepa": {"hidden_dim": 8, "projection_dim": 4, "slices": 6},
    "visreg": {"hidden_dim": 8, "projection_dim": 4, "slices": 6},
    "swav": {"prototypes": 6, "projection_dim": 8, "freeze_steps": 1},
    "swav with a queue": {"prototypes": 6, "projection_dim": 8, "queue": 14, "freeze_steps": 0},
    "dino": {**HEAD, "freeze_epochs": 0, "momentum": 0.5},
    "dino with norms": {**HEAD, "hidden_norm": True, "momentum": 0.5},
    "ibot": {**HEAD, "freeze_epochs": 0, "momentum": 0.5},
    "dinov2": {**HEAD, "freeze_epochs": 0, "momentum": 0.5, "mask_share": 0.2},
    "mae": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    "simmim": {"mask_unit": 4},
    "ijepa": {"predictor_dim": 16, "predictor_depth": 1, "predictor_heads": 2, "momentum": 0.5},
    "data2vec": {"layers": 1, "momentum": 0.5},
    "spark": {"decoder_dim": 8},
    "random_teacher": {**HEAD, "alpha": 0.3},
}


def build(name):
    torch.manual_seed(0)
    if name in ("mae", "simmim", "ijepa", "data2vec", "ibot", "dinov2"):
        options = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 1, "num_heads": 2, "reg_tokens": 1}
        options["dynamic_img_size"] = len(SIZES[name]) > 1
        backbone = timm.create_model("vit_tiny_patch16_224", num_classes=0, in_chans=1, **options)
    elif name == "spark":
        small = {"layers": (1, 1, 1, 1), "channels": (4, 4, 8, 8), "in_chans": 1, "image_size": 16}
        backbone = backbones.create("resnet10_small", mean=(0.5,), std=(0.5,), **small)
    else:
        # timm's norm contains the activation; without momentum, running statistics are plain averages
        layers = [
            nn.Conv2d(1, 6, 3),
            BatchNormAct2d(6),
            nn.Conv2d(6, 8, 2),
            nn.BatchNorm2d(8, momentum=None),
            nn.ReLU(),
        ]
        backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        backbone.num_features = 8
    method_class = METHODS[name.split()[0]]
    method = method_class(method_class.Config(**SETTINGS.get(name, {})), backbone, INFO)
    synchronise_batchnorm(method)
    return method.double().train()


def batch_of(name, number, share):
    draw = torch.Generator().manual_seed(number)
    views = [torch.randn(BATCH, 1, size, size, generator=draw, dtype=torch.float64)[share] for size in SIZES[name]]
    labels = torch.randint(0, 3, (BATCH,), generator=draw)
    return Batch(views, torch.arange(BATCH)[share], labels[share])


def run(name):
    """A few steps of plain SGD; the gradients of each, and the state at the end."""
    method = build(name)
    world, rank = dist.world_size(), dist.rank()
    model = DistributedDataParallel(method) if world > 1 else method
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05)
    size = BATCH // world
    gradients, losses = [], []
    for number in range(STEPS):
        step = Step(number, per_epoch=2, total=STEPS, seed=0, batch_size=BATCH, first=rank * size)
        method.before_step(step)
        optimizer.zero_grad()
        loss = model(batch_of(name, number, slice(rank * size, (rank + 1) * size)), step)["loss"]
        loss.backward()
        method.after_backward(step)
        gradients.append({n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None})
        losses.append(dist.all_reduce_sum(loss.detach().clone()) / world)
        optimizer.step()
        method.after_step(dataclasses.replace(step, number=number + 1))
    return {"gradients": gradients, "losses": torch.stack(losses), "state": method.state_dict()}


def read():
    """The global batches that the ranks' streams make up together, for G-SimCLR's sampler."""
    images = ImageSet.from_arrays(np.zeros((64, 1, 8, 8), np.uint8), None, name="black")
    sampler = DiverseBatches(PSEUDO_LABELS, BATCH)
    schedule = Schedule(epochs=3, per_epoch=sampler.batches_per_epoch(), batch_size=BATCH, accumulate=1, seed=5)
    stream = BatchStream(images, sampler, schedule, 0, with_labels=False)
    return torch.stack([torch.cat(dist.everyone(batch["rows"])) for batch in stream])


def gradients_of_a_sum():
    """Of ``y + gather(x)``, which get one and the same gradient; that of y is worked on after x's was gathered."""
    x, y = torch.ones(2, requires_grad=True), torch.zeros(2 * dist.world_size(), requires_grad=True)
    (1 * y + dist.gather(x)).square().sum().backward()
    return {"x": x.grad, "y": y.grad}


def main(rank, folder):
    torch.set_num_threads(1)
    for world in WORLDS:
        if rank >= world:
            break
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meeting-{world}", rank=rank, world_size=world
        )
        for name in SIZES:
            result = run(name)
            if rank == world - 1:  # not rank 0, whose slices begin at 0
                torch.save(result, folder / f"{name}-{world}.pt")
        more = {"rows": read(), "sum": gradients_of_a_sum()}
        if rank == world - 1:
            torch.save(more, folder / f"more-{world}.pt")
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    os._exit(0)  # torch 2.6 waits for ever, at the end of a forked process, for threads that its parent had


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, str(folder)], env=environment, check=True, timeout=240)
    return folder


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", SIZES)
def test_ranks_give_the_gradients_of_one_process(name, world, results):
    found = torch.load(results / f"{name}-{world}.pt", weights_only=True)
    expected = run(name)
    torch.testing.assert_close(found["losses"], expected["losses"], rtol=1e-6, atol=1e-9)
    for ours, reference in zip(found["gradients"], expected["gradients"], strict=True):
        assert ours.keys() == reference.keys()
        largest = max(float(g.norm()) for g in reference.values())
        for key, gradient in reference.items():
            difference = float((ours[key] - gradient).norm())
            assert difference <= 1e-5 * float(gradient.norm()) + 1e-12 * largest, key
    for key, value in expected["state"].items():  # weights, queues, teachers, running statistics
        torch.testing.assert_close(found["state"][key], value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("world", WORLDS)
def test_ranks_share_out_batches_without_a_pseudo_label_twice(world, results):
    rows = torch.load(results / f"more-{world}.pt", weights_only=True)["rows"]
    assert torch.equal(rows, read())
    for batch in rows.numpy():
        assert len(np.unique(PSEUDO_LABELS[batch])) == BATCH


@pytest.mark.parametrize("world", WORLDS)
def test_gathering_leaves_the_gradients_of_others_alone(world, results):
    found = torch.load(results / f"more-{world}.pt", weights_only=True)["sum"]
    torch.testing.assert_close(found["x"], torch.full((2,), 2.0 * world))
    torch.testing.assert_close(found["y"], torch.full((2 * world,), 2.0))


def test_every_method_that_trains_is_here():
    # one trains nothing, the others' teachers are opened by runs
    elsewhere = {"random", "distill", "dmae", "self_distill"}
    assert {name.split()[0] for name in SIZES} == METHODS.keys() - elsewhere


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=main, args=(rank, Path(sys.argv[1])), daemon=True) for rank in range(max(WORLDS))]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    sys.exit(any(process.exitcode for process in ranks))
