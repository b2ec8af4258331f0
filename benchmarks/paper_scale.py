"""CIFAR-10 at the scale of papers: ResNet-18 with solo-learn's settings, 200 and 1000 epochs, beside its figures.

    python benchmarks/paper_scale.py --data-dir FOLDER [--epochs 200 1000] [--seed 0] [--rows simclr byol] [--runs DIR]
    python benchmarks/paper_scale.py --smoke

Made for one GPU (`hardware.accelerator=auto` takes it). It can be stopped and given again at any time: a run goes on
from its checkpoint, and a finished one is not computed again; one file a row is kept in benchmarks/results/paper_scale.
`--smoke` trains every row for one epoch of 32 made-up images and probes it, to see that all of it runs; it writes no
figures.

The settings are those of solo-learn's `scripts/pretrain/cifar/*.yaml` and `augmentations/*.yaml` (commit 9187ea3), the
figures its README's table "CIFAR-10": https://github.com/vturrisi/solo-learn. They are accuracies of a linear layer
trained beside the backbone; ours is the linear probe on the finished backbone. Where our networks differ:

- SimCLR's, SupCon's and MoCo's projections have BatchNorm here, none there; our SwAV's queue starts at the same epoch.
- Barlow Twins' loss is multiplied by 0.1 there. Here lr is, and weight decay is divided by it, which is the same.
- Blur: its sigma is counted in pixels of 32 there, of 224 here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _results import HERE, machine, section

from unlabeled.core.files import atomic_write_json
from unlabeled.recipes.resolve import check_recipe
from unlabeled.ssl.methods import METHODS
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.probe import probe

PROBES = ("linear", "knn", "nmc")
EPOCHS = (200, 1000)


def view(count: int = 1, jitter: tuple[float, ...] = (0.4, 0.4, 0.2, 0.1), **more: Any) -> dict[str, Any]:
    """One of solo-learn's views: a crop, a flip, colours, some of them gray."""
    names = ("brightness", "contrast", "saturation", "hue")
    colour = {"jitter": 0.8, "gray": 0.2, **dict(zip(names, jitter, strict=True))} if jitter else {}
    crop = {"crop": "resized", "scale": [0.08, 1.0], "interpolation": "bicubic", "flip": 0.5}
    return {"count": count, **crop, **colour, **more}


BLUR = {"blur": 0.5, "blur_sigma": [0.7, 14.0]}
SYMMETRIC = [view(2, (0.8, 0.8, 0.8, 0.2), **BLUR)]
WEAK = [view(2, (0.4, 0.4, 0.4, 0.1), **BLUR)]
ASYMMETRIC = [view(), view(solarize=0.2)]
LARS = {"name": "lars", "trust": 0.02, "trust_clip": True}
SGD = {"name": "sgd"}
VIT = {"name": "vit_small_patch16_224", "args": {"patch_size": 4}}

ROWS: dict[str, dict[str, Any]] = {
    "simclr": {
        "method": {"temperature": 0.2, "hidden_dim": 2048, "projection_dim": 256},
        "views": SYMMETRIC,
        "optimizer": {**LARS, "lr": 0.4, "weight_decay": 1e-4},
    },
    "byol": {
        "method": {"momentum": 0.99, "hidden_dim": 4096, "projection_dim": 256},
        "views": ASYMMETRIC,
        "optimizer": {**LARS, "lr": 1.0, "weight_decay": 1e-5},
    },
    "moco": {
        "method": {
            "momentum": 0.99, "momentum_end": 0.999, "temperature": 0.2, "queue": 32768, "hidden_dim": 2048,
            "projection_dim": 256,
        },
        "views": WEAK,
        "optimizer": {**SGD, "lr": 0.3, "weight_decay": 1e-4},
    },
    "mocov3": {
        "method": {"momentum": 0.99, "temperature": 0.2, "hidden_dim": 4096, "projection_dim": 256},
        "views": ASYMMETRIC,
        "optimizer": {**LARS, "lr": 0.3, "weight_decay": 1e-6},
    },
    "nnclr": {
        "method": {
            "temperature": 0.2, "queue": 65536, "hidden_dim": 2048, "predictor_dim": 4096, "projection_dim": 256,
        },
        "views": ASYMMETRIC,
        "optimizer": {**LARS, "lr": 0.4, "weight_decay": 1e-5},
    },
    "simsiam": {
        "method": {"projection_dim": 2048, "predictor_dim": 512},
        "views": WEAK,
        "optimizer": {**SGD, "lr": 0.5, "weight_decay": 1e-5},
    },
    "barlow_twins": {
        "method": {"redundancy": 0.0051, "projection_dim": 2048},
        "views": ASYMMETRIC,
        "optimizer": {**LARS, "lr": 0.03, "weight_decay": 1e-3},
    },
    "vicreg": {
        "method": {"projection_dim": 2048},
        "views": [view(2, scale=[0.2, 1.0], solarize=0.1)],
        "optimizer": {**LARS, "lr": 0.3, "weight_decay": 1e-4},
    },
    "swav": {
        "method": {
            "prototypes": 3000, "temperature": 0.1, "freeze_steps": 390, "queue": 3840, "queue_from_epoch": 50,
            "hidden_dim": 2048, "projection_dim": 128,
        },
        "views": SYMMETRIC,
        "optimizer": {**LARS, "lr": 0.6, "weight_decay": 1e-6},
    },
    "dino": {
        "method": {
            "momentum": 0.9995, "hidden_dim": 2048, "bottleneck_dim": 256, "output_dim": 4096, "keep": "student",
            "teacher_temperature": 0.07, "teacher_temperature_start": 0.04, "teacher_temperature_epochs": 0,
        },
        "views": ASYMMETRIC,
        "optimizer": {**LARS, "lr": 0.3, "weight_decay": 1e-6},
    },
    "supcon": {
        "method": {"temperature": 0.2, "hidden_dim": 2048, "projection_dim": 256},
        "views": SYMMETRIC,
        "optimizer": {**SGD, "lr": 0.4, "weight_decay": 1e-5},
    },
    "mae": {
        "method": {"mask_ratio": 0.75, "norm_pix": True, "decoder_dim": 512, "decoder_depth": 8, "decoder_heads": 16},
        "views": [view(1, ())],
        "optimizer": {"name": "adamw", "lr": 2e-4, "betas": [0.9, 0.95], "weight_decay": 0.05},
        "backbone": VIT,
    },
}  # fmt: skip
PUBLISHED = {
    "simclr": 90.74, "byol": 92.58, "moco": 92.94, "mocov3": 93.10, "nnclr": 91.88, "simsiam": 90.51,
    "barlow_twins": 92.10, "vicreg": 92.07, "swav": 89.17, "dino": 89.52, "supcon": 93.82,
}  # fmt: skip
"""Acc@1 in % after 1000 epochs, on CIFAR-10's own pixels; MAE has none."""


def settings(row: str, data: str, folder: str | None, epochs: int, batch: int, seed: int) -> dict[str, Any]:
    """All that a row changes in the recipe of its method."""
    own = ROWS[row]
    return {
        "data": {"name": data, "dir": folder},
        "epochs": epochs,
        "batch_size": batch,
        "seed": seed,
        "backbone": own.get("backbone", {"name": "resnet18_small", "args": {}}),
        "method": {"name": row, **own["method"]},
        "views": own["views"],
        "optimizer": {
            "lr_batch": 256, "warmup_epochs": min(10, epochs / 10), "lr_start": 3e-5, "schedule": "cosine",
            **own["optimizer"],
        },
        "health": {"every": max(epochs // 20, 1)},
    }  # fmt: skip


def compute(row: str, content: dict[str, Any], out: Path) -> dict[str, Any]:
    """Train, or go on training, and probe."""
    began = time.monotonic()
    run = pretrain(check_recipe({"name": f"{row}-paper-scale", **content}, row), out, resume=out.exists())
    report = probe(str(run.folder), probes=PROBES)["probes"]
    figures = {name: [report[name]["top1"], *report[name]["interval"]] for name in PROBES}
    hours = (time.monotonic() - began) / 3600
    return {"row": row, "epochs": content["epochs"], "seed": content["seed"], "hours": hours, **figures}


def rows_here() -> list[str]:
    """The rows whose method this version has."""
    return [row for row in ROWS if row in METHODS]


def write_page() -> None:
    """The section of RESULTS.md: solo-learn's figures, and ours where there are any."""
    found = [json.loads(file.read_text()) for file in sorted((HERE / "results" / "paper_scale").glob("*.json"))]
    lines = []
    for row in rows_here():
        cells = []
        for epochs in EPOCHS:
            own = [one for one in found if one["row"] == row and one["epochs"] == epochs]
            for name in ("linear", "knn"):
                shown = [
                    f"{100 * top:.1f} ({100 * low:.1f} – {100 * high:.1f})" for top, low, high in (o[name] for o in own)
                ]
                cells.append("; ".join(shown) or "–")
        lines.append(f"| {row} | {f'{PUBLISHED[row]:.2f}' if row in PUBLISHED else '–'} | {' | '.join(cells)} |")
    ran = f"Ran on {machine()}." if found else "No GPU could be had so far: our columns are empty."
    section(
        "paper_scale",
        "\n".join(
            [
                "## CIFAR-10 at the scale of papers",
                "",
                "`python benchmarks/paper_scale.py --data-dir FOLDER`: ResNet-18 (3×3 stem, no max-pool), 256 images, "
                "solo-learn's settings for each method (MAE: ViT-S/4). Published: Acc@1 of solo-learn's README after "
                "1000 epochs (https://github.com/vturrisi/solo-learn, commit 9187ea3), on CIFAR-10's own pixels. Ours: "
                "linear probe and kNN of the last epoch in %, with the 95 % interval over the 10,000 test images of "
                f"CIFAR-10 (JPEG). {ran}",
                "",
                "| method | published, 1000 epochs | linear, 200 | kNN, 200 | linear, 1000 | kNN, 1000 |",
                "|---|---:|---:|---:|---:|---:|",
                *lines,
            ]
        ),
    )


def made_up(folder: Path) -> str:
    """A data set of 32 + 16 random colour images of two classes."""
    draws = np.random.default_rng(0)
    parts = {"train": 32, "test": 16}
    arrays: dict[str, Any] = {}
    for part, n in parts.items():
        arrays[f"x_{part}"] = draws.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(n) % 2
    np.savez(folder / "made-up.npz", **arrays)
    return f"npz:{folder / 'made-up.npz'}"


def smoke(rows: Sequence[str]) -> None:
    """Every row from end to end, as small as it gets; then again, to see that what is finished is not done twice."""
    with tempfile.TemporaryDirectory() as place:
        data = made_up(Path(place))
        for row in rows:
            began = time.monotonic()
            content = settings(row, data, None, 1, 16, 0) | {"health": {"every": 0}}
            for _ in range(2):
                figures = compute(row, content, Path(place) / row)
            print(f"{row}: {time.monotonic() - began:.1f} s, linear {figures['linear'][0]:.2f}", flush=True)


def main() -> None:
    """Compute what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int, nargs="+", default=list(EPOCHS))
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=rows_here(), choices=rows_here())
    parser.add_argument("--runs", type=Path, default=Path("runs/paper"))
    parser.add_argument("--smoke", action="store_true", help="only try that everything runs")
    options = parser.parse_args()
    if options.smoke:
        smoke(options.rows)
        return
    write_page()
    for seed in options.seed:
        for epochs in options.epochs:
            for row in options.rows:
                name = f"{row}-{epochs}e-s{seed}"
                kept = HERE / "results" / "paper_scale" / f"{name}.json"
                if not kept.exists():
                    content = settings(row, "cifar10", options.data_dir, epochs, 256, seed)
                    kept.parent.mkdir(exist_ok=True)
                    atomic_write_json(kept, compute(row, content, options.runs / name))
                    write_page()


if __name__ == "__main__":
    main()
