"""A privacy engineer's day: requests against runs on photographs named after people, then a search of the whole disk.

``python benchmarks/deletion.py --work FOLDER`` pretrains (G-SimCLR and SimCLR), fine-tunes, probes and writes pages,
then answers one request after the other (20, 50 and 200 files, copies and held-out ones among them) as ``unlabeled
forget --with-copies`` does, deletes the files, purges, fine-tunes and probes the result, and verifies the record. Then
it looks for pixels, features, names and hashes of everything that was to be deleted in every file there is.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from _results import machine, section

import unlabeled
from unlabeled.data import open_data
from unlabeled.data.prints import pixel_prints
from unlabeled.verbs.finetune import finetune
from unlabeled.verbs.forget import forget
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.probe import probe_all
from unlabeled.verbs.purge import purge
from unlabeled.verbs.record import verify_record
from unlabeled.verbs.report import report

PEOPLE = ("anna-schmidt", "ben-okafor", "carla-rossi", "dmitri-ivanov", "emine-kaya", "farid-haddad", "grace-lee")
ALIKE = 0.9999
"""Cosine (of features less the others' mean) from which a stored vector is one of a deleted image."""

Array = np.ndarray[Any, Any]


@dataclass
class Deleted:
    """Everything about the images that no file may hold afterwards."""

    names: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    pixels: list[Array] = field(default_factory=list)
    features: list[Array] = field(default_factory=list)
    """A ``(N, D)`` array a network that met them, centred by the mean of all its features."""
    means: list[Array] = field(default_factory=list)


def photographs(folder: Path, count: int, sizes: Sequence[int]) -> list[list[str]]:
    """Fashion-MNIST as two albums of named people, and requests over it, drawn over training and held-out images.

    The first two files of each request lie there once more, as somebody else's.
    """
    images, files = open_data("fashion-mini", "train"), []
    for row in range(count):
        pixels, label = images.images[row][0], int(images.labels[row]) % 2
        path = folder / f"album-{label}" / f"{PEOPLE[row % len(PEOPLE)]}-{row:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        files.append(str(path))
    order = np.random.default_rng(0).permutation(files).tolist()
    ends = np.cumsum(sizes).tolist()
    requests = [sorted(order[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
    for number, asked in enumerate(requests):
        for place, path in enumerate(asked[:2]):
            shutil.copyfile(path, Path(path).with_name(f"zoe-copy-{number}-{place}.png"))
    return requests


def remember(deleted: Deleted, folder: Path, names: Sequence[str], networks: Sequence[Path]) -> None:
    """Note pixels, hashes and features of images before they go."""
    every = open_data(str(folder), "all")
    rows = np.array([every.paths.index(name) for name in names])
    part = every.subset(rows)
    deleted.names += [Path(name).name for name in names]
    deleted.hashes += pixel_prints(part)
    deleted.pixels += list(part.images)
    for network in networks:
        features = np.asarray(unlabeled.load_backbone(network).embed(every.images))
        deleted.means.append(features.mean(0))
        deleted.features.append(_unit(features[rows] - features.mean(0)))


def _unit(rows: Array) -> Array:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def search(places: Sequence[Path], deleted: Deleted) -> list[str]:
    """Every file of ``places`` that holds a name, a hash, the pixels or the features of a deleted image."""
    words = [word.encode() for word in (*deleted.names, *deleted.hashes)]
    words += [bytes.fromhex(word) for word in deleted.hashes]
    # a row of pixels is enough, and is found in sheets of thumbnails, too; one without contrast is found anywhere
    lines = [image[0, image.shape[1] // 2] for image in deleted.pixels]
    words += [line.tobytes() for line in lines if len(np.unique(line)) > 8]
    words += [image.tobytes() for image in deleted.pixels]
    found = []
    for path in sorted(file for place in places for file in place.rglob("*") if file.is_file()):
        if any(name in str(path) for name in deleted.names):
            found.append(f"name of {path}")
        for what, content in _contents(path):
            if any(word in content for word in words):
                found.append(f"{what} of {path}")
        found += [f"features in {path}" for array in _vectors(path) if _has_features(array, deleted)]
    return found


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """A file's bytes; those of what is packed in it; the gray pixels of its pictures, from left to right."""
    raw = path.read_bytes()
    yield "bytes", raw
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from ((name, archive.read(name)) for name in archive.namelist())
    pictures = [base64.b64decode(text) for text in re.findall(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)", raw)]
    for picture in [*pictures, *([raw] if path.suffix in (".png", ".jpg", ".webp") else [])]:
        with suppress(OSError):  # SVG
            yield "picture", Image.open(io.BytesIO(picture)).convert("L").tobytes()


def _vectors(path: Path) -> Iterator[Array]:
    """The two-dimensional arrays of floats in a file of features."""
    if path.name == "features.bin":
        dim = json.loads((path.parent / "manifest.json").read_text()).get("dim")
        for kind in (np.float16, np.float32):
            if dim and path.stat().st_size % (dim * np.dtype(kind).itemsize) == 0:
                yield np.fromfile(path, kind).reshape(-1, dim)
    elif path.suffix == ".npy":
        yield np.load(path, allow_pickle=False)
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as kept:
            yield from (kept[name] for name in kept.files)


def _has_features(array: Array, deleted: Deleted) -> bool:
    if array.ndim != 2 or array.dtype.kind != "f" or not len(array):
        return False
    for features, mean in zip(deleted.features, deleted.means, strict=True):
        if features.shape[1] == array.shape[1]:
            cosine = _unit(array.astype(np.float32) - mean) @ features.T
            if (np.nan_to_num(cosine) > ALIKE).any():
                return True
    return False


def day(
    work: Path, *, count: int, sizes: Sequence[int], settings: Sequence[str], quick: Sequence[str] = ()
) -> list[str]:
    """Carry the day out in ``work``; return what the search finds at its end.

    Args:
        work: an empty folder; the cache lies in it, too.
        count: photographs.
        sizes: of the requests, one after the other.
        settings: of the training.
        quick: of forgetting; none: its defaults.
    """
    photos, runs = work / "photos", work / "runs"
    requests = photographs(photos, count, sizes)
    data = f"data={photos}"
    guided = pretrain("gsimclr", runs / "guided", overrides=(data, *settings, "method.autoencoder.epochs=1"))
    tuned, _ = finetune(guided.folder, overrides=tuple(settings), out=runs / "tuned")
    alone = pretrain("simclr", runs / "alone", overrides=(data, *settings))
    lives = {"tuned": tuned.folder, "alone": alone.folder}
    met = [guided.folder, *lives.values()]
    deleted = Deleted()
    for number, asked in enumerate(requests):
        list_ = work / f"request-{number}.txt"
        list_.write_text("\n".join(asked))
        probe_all([str(folder) for folder in lives.values()], probes=("knn", "nmc"))
        for folder in lives.values():
            report([folder], points=200, bank=200)
        remember(deleted, photos, asked, met)
        for name, folder in lives.items():
            out = runs / f"{name}-{number}"
            keep = [] if number else ["retrain"]
            forget(folder, f"files:{list_}", settings=quick, with_copies=True, keep=keep, out=out)
            lives[name] = out
        copies = [str(path) for path in photos.rglob(f"zoe-copy-{number}-*.png")]
        remember(deleted, photos, copies, met)
        if not number:
            before = search([work], deleted)
            assert any("features" in line for line in before), "the search itself finds features where they are"
            assert any("pixels.u8" in line for line in before)
            assert any("report.html" in line for line in before)
        for path in (*asked, *copies, list_):
            Path(path).unlink()
        for folder in lives.values():
            purge(folder)
        met = list(lives.values())
    for name, folder in lives.items():
        finetune(folder, overrides=tuple(settings), out=runs / f"{name}-next")
        probe_all([str(folder), str(runs / f"{name}-next")], probes=("knn", "nmc"))
        report([folder], points=200, bank=200)
        entries = verify_record(folder)
        assert [entry["what"] for entry in entries] == ["forget", "purge"] * len(sizes)
    return search([work], deleted)


NETWORK = "backbone.args={layers: [1, 1, 1, 1], channels: [16, 16, 32, 32]}"
SMALL = ("data.size=16", "epochs=1", "batch_size=32", "health.every=0", "optimizer.warmup_epochs=0")


DISTANCES = """## How far the defaults of `unlabeled forget` go

`python benchmarks/deletion.py distances --sizes {sizes}` on {machine}. A small ResNet is trained with labels on 1,000
images until it knows them (40 epochs, no augmentation), then forgets single images by LAF at its defaults. `moved`: the
share of the way from the original's figure to the retrained one's; a dash: those two are less than 0.02 apart. More
than 100 % is too far: images are then answered more wrongly than images nobody ever showed it, and an attack knows them
by that. A negative share of the attack means that it succeeds more often than before."""


def distances(work: Path, sizes: Sequence[int], count: int = 1000) -> list[str]:
    """How far the defaults bring an over-trained classifier towards the retrained one: a table's lines.

    Of the accuracy on the forgotten images, and of the attack on the outputs, the share of the way from the original's
    value to the retrained one's; a dash where those two are less than 0.02 apart, for then there is no way to go.
    """
    train, test = open_data("fashion-mini", "train"), open_data("fashion-mini", "test")
    file = work / "data.npz"
    np.savez(
        file,
        x_train=train.images[:count, 0],
        y_train=train.labels[:count],
        x_test=test.images[:count, 0],
        y_test=test.labels[:count],
    )
    over = ("epochs=40", "batch_size=32", "optimizer.lr=0.1", "optimizer.weight_decay=0", "views=[{crop: none}]")
    settings = (f"data=npz:{file}", "data.size=16", "health.every=0", *over, NETWORK)
    model = pretrain("supervised", work / "over-trained", overrides=settings).folder
    measures = ("train_f", "mia_auc_outputs")
    head = ("images", *(f"{name}: {row}" for name in measures for row in ("original", "retrain", "laf", "moved")))
    lines = ["| " + " | ".join(head) + " |", "|---:" * len(head) + "|"]
    for size in sizes:
        rows = np.random.default_rng(size).permutation(count)[:size]
        (work / f"{size}.txt").write_text(" ".join(map(str, rows)))
        found = {row.method: row.measures for row in forget(model, f"indices:{work / f'{size}.txt'}").rows}
        cells = [str(size)]
        for name in measures:
            before, gold, after = (found[row].get(name, np.nan) for row in ("original", "retrain", "laf"))
            way = f"{(before - after) / (before - gold):.0%}" if abs(before - gold) >= 0.02 else "–"
            cells += [f"{before:.3f}", f"{gold:.3f}", f"{after:.3f}", way]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=("day", "distances"), help="default: both")
    parser.add_argument("--work", type=Path, default=Path("/tmp/unlabeled-deletion"))
    parser.add_argument("--images", type=int, default=1000, help="of the day")
    parser.add_argument("--sizes", default="20,50,200")
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    os.environ["UNLABELED_CACHE"] = str(args.work / "cache")
    start, sizes, found = time.time(), [int(size) for size in args.sizes.split(",")], list[str]()
    if args.part != "distances":
        found = day(args.work, count=args.images, sizes=sizes, settings=(*SMALL, "batch_size=64", NETWORK))
        print("\n".join(found) or "the search finds nothing")
        files = sum(path.is_file() for path in args.work.rglob("*"))
        section(
            "deletion",
            f"""## A privacy engineer's day

`python benchmarks/deletion.py day --images {args.images} --sizes {args.sizes}` on {machine()}:
{time.time() - start:,.0f} seconds. {args.images:,} photographs named after people; G-SimCLR, fine-tuned, and SimCLR;
requests of {args.sizes} files one after the other with default settings, each with two copies under other names and
with held-out files, purged; the results fine-tuned, probed and shown. A search of all {files} files that are left for
pixels, features, names and hashes of the deleted images finds {len(found) or "nothing"}.""",
        )
    if args.part != "day":
        table = "\n".join(distances(args.work, sizes))
        print(table)
        section("deletion-distances", f"{DISTANCES.format(machine=machine(), sizes=args.sizes)}\n\n{table}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
