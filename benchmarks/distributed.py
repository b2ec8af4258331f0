"""Ranks against one process, for every method; sharded features and neighbours; and a job's time on paper.

    python benchmarks/distributed.py [--parts equality shards cost]

The first two parts compute in float64 on this machine. The third counts (floating-point operations, parameters,
BatchNorm layers, bytes) and divides by rates of hardware that are *assumed*, and printed beside the result.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from _results import HERE, machine, save, section

TEST = HERE.parent / "tests" / "ssl" / "test_distributed.py"


def equality() -> tuple[list[dict[str, Any]], str]:
    """The comparison of tests/ssl/test_distributed.py, as figures: three steps of every method."""
    spec = importlib.util.spec_from_file_location("ranks", TEST)
    assert spec is not None
    assert spec.loader is not None
    ranks: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ranks)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, str(TEST), name], env=environment, check=True)
        for method in ranks.SIZES:
            expected = ranks.run(method)
            row: dict[str, Any] = {"method": method}
            for world in sorted(ranks.WORLDS):
                found = torch.load(Path(name) / f"{method}-{world}.pt", weights_only=True)
                pairs = list(zip(found["gradients"], expected["gradients"], strict=True))
                assert all(ours.keys() == theirs.keys() for ours, theirs in pairs)
                row[f"gradients_{world}"] = max(_relative(ours, theirs) for ours, theirs in pairs)
                row[f"state_{world}"] = _relative(found["state"], expected["state"])
            rows.append(row)
    worlds = sorted(ranks.WORLDS)
    head = "| method | " + " | ".join(f"gradients, {w} ranks | state, {w} ranks" for w in worlds) + " |"
    lines = [head, "|---|" + "---:|" * 2 * len(worlds)]
    for row in rows:
        cells = [f"{row[f'{kind}_{w}']:.0e}" for w in worlds for kind in ("gradients", "state")]
        lines.append(f"| {row['method']} | " + " | ".join(cells) + " |")
    worst = max(value for row in rows for key, value in row.items() if key != "method")
    lines.append(
        f"\nLargest relative difference (2-norm of a tensor's difference over the tensor's; those below 1e-9 of the "
        f"largest count as that) between W processes with 8 / W images each and one with all 8, over "
        f"{ranks.STEPS} steps of SGD, float64, gloo; worst {worst:.1e}, allowed 1e-5. The state holds weights, running "
        "statistics (BatchNorm over all ranks), SwAV's queue and its usage of prototypes, G-SimCLR's pseudo-labels, "
        "teachers."
    )
    return rows, "\n".join(lines)


def _relative(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    largest = max(float(value.double().norm()) for value in theirs.values())
    return max(
        float((ours[key].double() - value.double()).norm()) / max(float(value.double().norm()), 1e-9 * largest, 1e-300)
        for key, value in theirs.items()
    )


SHARDS = """
import sys, time, numpy as np, torch, torch.distributed as dist
from unlabeled import backbones
from unlabeled.data import open_data
from unlabeled.probes import KNNProbe, extract
torch.set_num_threads(1)
if int(sys.argv[2]) > 1: dist.init_process_group("gloo")
images = open_data("fashion-mini", "train").subset(np.arange(2000))
model = backbones.create("resnet10_small", in_chans=1, image_size=28, mean=(0.5,), std=(0.25,), seed=0, stem_stride=2)
bank = extract(model, images, mean=(0.5,), std=(0.25,), dtype="float32")
probe = KNNProbe(20, on_ranks=dist.is_initialized()).fit(bank.features[:1500], bank.labels[:1500])
near = probe.neighbours(bank.features[1500:])
if not dist.is_initialized() or dist.get_rank() == 0:
    np.savez(sys.argv[1], features=bank.features, index=near.index, similarity=near.similarity,
             predicted=probe.predict(bank.features[1500:]))
else:
    probe.predict(bank.features[1500:])
if dist.is_initialized(): dist.destroy_process_group()
"""


def shards() -> tuple[dict[str, Any], str]:
    """Features of 2,000 images and the neighbours of 500, by 1, 2 and 3 processes."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        script = Path(name) / "shards.py"
        script.write_text(SHARDS)
        for world in (1, 2, 3):
            out = Path(name) / f"{world}.npz"
            start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(world)]
            command = [*(start if world > 1 else [sys.executable]), str(script), str(out), str(world)]
            subprocess.run(command, env={**os.environ, "PYTHONPATH": str(HERE.parent)}, check=True)
            found[str(world)] = dict(np.load(out))
    whole, lines = found["1"], []
    figures: dict[str, Any] = {}
    for world in ("2", "3"):
        part = found[world]
        figures[world] = {
            "features_equal": bool(np.array_equal(part["features"], whole["features"])),
            "neighbours_equal": float((part["index"] == whole["index"]).mean()),
            "similarity": float(np.abs(part["similarity"] - whole["similarity"]).max()),
            "predictions_equal": bool(np.array_equal(part["predicted"], whole["predicted"])),
        }
        f = figures[world]
        lines.append(
            f"{world} processes: features bit for bit equal: {'yes' if f['features_equal'] else 'no'}; the same "
            f"neighbours in {f['neighbours_equal']:.2%} of 500 × 20 places, similarities within "
            f"{f['similarity']:.0e}; the same predictions: {'yes' if f['predictions_equal'] else 'no'}."
        )
    return figures, "\n".join(f"- {line}" for line in lines)


@dataclass(frozen=True)
class Rates:
    """What the hardware is taken to do; nothing here was measured by us."""

    flops: float = 400e12
    """Half of an H100's dense bfloat16 peak for transformers."""
    flops_convolution: float = 75e12
    """Convolutions of small width are bound by memory: some 3,000 images a second of ResNet-50."""
    network: float = 40e9
    """Bytes a second of each GPU into the ring (400 Gbit/s a GPU, 80 %)."""
    latency: float = 10e-6
    """Seconds of one hop of a small collective."""
    storage: float = 1e9
    """Bytes a second that rank 0 writes a checkpoint with."""


@dataclass(frozen=True)
class Job:
    name: str
    model: str
    views: int
    seen: float
    """Share of the patches that the encoder sees."""
    gathered: int
    """Values of a view's projection that all ranks exchange."""
    per_gpu: int
    images: float
    epochs: int
    convolutional: bool


JOBS = (
    Job("SimCLR, ResNet-50, 224 px", "resnet50", 2, 1.0, 128, 64, 1.28e6, 800, True),
    Job("MAE, ViT-L/16, 224 px", "vit_large_patch16_224", 1, 0.25, 0, 256, 1e8, 100, False),
)


def count(job: Job) -> dict[str, float]:
    """What one image costs: counted, not timed."""
    import timm
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = timm.create_model(job.model, num_classes=0)
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.empty(1, 3, 224, 224))
    norms = sum(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules())
    return {
        "flops": 3.0 * counter.get_total_flops() * job.views * job.seen,
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "batchnorms": float(norms),
    }


def predict(job: Job, counted: dict[str, float], rates: Rates, gpus: int) -> dict[str, float]:
    """Seconds of a step on ``gpus`` GPUs, and hours of the job."""
    compute = job.per_gpu * counted["flops"] / (rates.flops_convolution if job.convolutional else rates.flops)
    hops = math.log2(gpus) if gpus > 1 else 0.0
    share = (gpus - 1) / gpus
    reduce = 2 * share * 4 * counted["parameters"] / rates.network + 2 * hops * rates.latency
    exposed = max(0.0, reduce - compute / 2)  # the backward pass, two thirds of the step, hides most of it
    norms = 2 * counted["batchnorms"] * hops * rates.latency  # a gather forward, a sum backward
    # a gather forward, and the sum of the whole gathered gradient backward, which is twice a gather
    loss = 3 * share * gpus * job.per_gpu * job.views * job.gathered * 4 / rates.network
    saving = 2 * 4 * counted["parameters"] / rates.storage / 60  # every 60 seconds, all ranks wait for rank 0
    step = (compute + exposed + norms + loss) * (1 + saving)
    steps = job.epochs * job.images / (gpus * job.per_gpu)
    return {
        "gpus": gpus,
        "step": step,
        "efficiency": compute / step,
        "images_per_second": gpus * job.per_gpu / step,
        "read": gpus * job.per_gpu / step * 3 * 224 * 224,
        "hours": steps * step / 3600,
    }


def cost() -> tuple[dict[str, Any], str]:
    """Jobs from 8 to 1,000 GPUs."""
    rates, figures, lines = Rates(), {}, []
    for job in JOBS:
        counted = count(job)
        rows = [predict(job, counted, rates, gpus) for gpus in (8, 64, 256, 1000)]
        figures[job.name] = {"counted": counted, "rows": rows}
        lines += [
            f"**{job.name}**, {job.per_gpu} images a GPU, {job.epochs} epochs of {job.images:,.0f} images. Counted: "
            f"{counted['flops'] / 1e9:,.0f} GFLOP an image (three times the forward pass), "
            f"{counted['parameters'] / 1e6:,.1f} M parameters, {counted['batchnorms']:.0f} BatchNorm layers.\n",
            "| GPUs | step | of it computing | images/s | read from the store | whole job |",
            "|---:|---:|---:|---:|---:|---:|",
        ]
        for row in rows:
            lines.append(
                f"| {row['gpus']:,} | {row['step'] * 1e3:,.0f} ms | {row['efficiency']:.0%} | "
                f"{row['images_per_second']:,.0f} | {row['read'] / 1e9:,.1f} GB/s | {row['hours']:,.1f} h |"
            )
        lines.append("")
    stated = ", ".join(f"{name} {value:.3g}" for name, value in asdict(rates).items())
    lines.append(
        f"Assumed, not measured: {stated} (per second and GPU; seconds). Not in the model: views (they run on the "
        "GPU), MAE's decoder, stragglers, failures. SimCLR at a global batch of 64,000 is a statement about time, not "
        "about accuracy."
    )
    return {"rates": asdict(rates), **figures}, "\n".join(lines)


PARTS = {"equality": equality, "shards": shards, "cost": cost}
TITLES = {
    "equality": "## Several processes: the gradients and the state of one",
    "shards": "**Sharded feature extraction and kNN** (resnet10_small, 2,000 images of fashion-mini)",
    "cost": "## Large jobs, on paper",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    for part in parser.parse_args().parts:
        start = time.monotonic()
        figures, text = PARTS[part]()
        command = f"`python benchmarks/distributed.py --parts {part}` on {machine()}; {time.monotonic() - start:.0f} s."
        page = f"{TITLES[part]}\n\n{command}\n\n{text}"
        print(page)
        save(f"distributed-{part}", figures)
        section(f"distributed-{part}", page)


if __name__ == "__main__":
    main()
