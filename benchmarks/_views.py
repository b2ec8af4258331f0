"""Two SimCLR views per image: ours against torchvision on PIL, lightly and kornia.

All contenders draw the same views: random resized crop, flip, colour jitter, gray, blur (not at 32 pixels),
normalisation. torchvision and lightly run in a DataLoader with two workers, as their users run them; `unlabeled` and
kornia work on batches with torch's threads.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import kornia.augmentation as K
import numpy as np
import torch
import torchvision.transforms as T
from lightly.transforms.simclr_transform import SimCLRTransform
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unlabeled.bench import timing
from unlabeled.bench.timing import Turns, span, verdict
from unlabeled.data.decode import decode
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views

FINE_PRINT = """\
Ratios are medians over the rounds of the contender's time over ours in the same round. The blur's sigma is 0.1 to 2
pixels for everyone. From files, `unlabeled` and kornia decode the largest centred square to 224 pixels and crop that,
where torchvision and lightly crop the full picture; the last row decodes to 320 pixels, which leaves a crop about the
detail of the file."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WORKERS = 2
OURS = "unlabeled"
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Case:
    """Views of ``size`` pixels with SimCLR's jitter times ``strength``; ``kernel`` taps of blur, 0 for none."""

    size: int
    batch: int
    batches: int
    strength: float
    kernel: int
    target: float
    files: bool = False
    stored: int = 0
    """Side to which JPEG files are decoded for the batched contenders."""

    @property
    def title(self) -> str:
        blur = f", blur p 0.5 of {self.kernel} taps" if self.kernel else ", no blur"
        source = "from JPEG files of 500 × 375, decoding included" if self.files else "from memory"
        return f"{self.size} px{blur}, batches of {self.batch}, {source}"


CASES = {
    32: Case(32, 256, 2, 0.5, 0, 6.0),
    96: Case(96, 64, 3, 1.0, 9, 1.5),
    224: Case(224, 16, 2, 1.0, 23, 1.0, files=True, stored=224),
}


def photographs(n: int, height: int, width: int) -> Pixels:
    """``n`` different cuts of two photographs, uint8 ``(n, height, width, 3)``."""
    generator = np.random.default_rng(0)
    sources = load_sample_images().images
    cuts = []
    for i in range(n):
        image = Image.fromarray(sources[i % len(sources)])
        share = generator.uniform(0.5, 1.0)
        w, h = image.width * share, image.height * share
        left, top = generator.uniform(0, image.width - w), generator.uniform(0, image.height - h)
        cut = image.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + w, top + h))
        cuts.append(np.asarray(cut))
    return np.stack(cuts)


class Pictures(Dataset[list[Tensor]]):
    """What a torchvision or lightly user writes: one PIL image at a time, two views of it."""

    def __init__(self, source: Pixels | list[Path], transform: Callable[[Image.Image], list[Tensor]]) -> None:
        self.source, self.transform = source, transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> list[Tensor]:
        item = self.source[i]
        return self.transform(Image.open(item).convert("RGB") if isinstance(item, Path) else Image.fromarray(item))


def torchvision_views(case: Case) -> Callable[[Image.Image], list[Tensor]]:
    s = case.strength
    steps = [
        T.RandomResizedCrop(case.size),
        T.RandomHorizontalFlip(),
        T.RandomApply([T.ColorJitter(0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s)], 0.8),
        T.RandomGrayscale(0.2),
    ]
    if case.kernel:
        steps.append(T.RandomApply([T.GaussianBlur(case.kernel, (0.1, 2.0))], 0.5))
    transform = T.Compose([*steps, T.ToTensor(), T.Normalize(MEAN, STD)])
    return lambda image: [transform(image), transform(image)]


def lightly_views(case: Case) -> Callable[[Image.Image], Any]:
    return SimCLRTransform(
        input_size=case.size, cj_strength=case.strength, gaussian_blur=0.5 if case.kernel else 0.0, sigmas=(0.1, 2.0)
    )


def kornia_views(case: Case) -> Callable[[Tensor], list[Tensor]]:
    s = case.strength
    steps = [
        K.RandomResizedCrop((case.size, case.size), scale=(0.08, 1.0)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s, p=0.8),
        K.RandomGrayscale(p=0.2),
    ]
    if case.kernel:
        steps.append(K.RandomGaussianBlur((case.kernel, case.kernel), (0.1, 2.0), p=0.5))
    augment = torch.nn.Sequential(*steps, K.Normalize(mean=torch.tensor(MEAN), std=torch.tensor(STD)))

    def call(images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            pixels = images.float() / 255
            return [augment(pixels), augment(pixels)]

    return call


def our_views(case: Case) -> Callable[[Tensor], list[Tensor]]:
    s = case.strength
    spec = ViewSpec(
        count=2, size=case.size, crop="resized", flip=0.5, gray=0.2,
        jitter=0.8, brightness=0.8 * s, contrast=0.8 * s, saturation=0.8 * s, hue=0.2 * s,
        blur=0.5 if case.kernel else 0.0,
        blur_sigma=(0.1 * 224 / case.size, 2.0 * 224 / case.size),  # the others' sigma is in pixels of the view
    )  # fmt: skip
    views = Views([spec], MEAN, STD)
    step = iter(range(1 << 30))
    return lambda images: views(images, key=(0, next(step)))


def loader_run(dataset: Pictures, case: Case) -> Callable[[], object]:
    loader = DataLoader(dataset, case.batch, num_workers=WORKERS, persistent_workers=True)

    def run() -> None:
        for _ in loader:
            pass

    return run


def batched_run(
    source: Pixels | list[Path], case: Case, stored: int, views: Callable[[Tensor], list[Tensor]]
) -> Callable[[], object]:
    """Memory: gather the rows of a batch; files: decode them to ``stored`` × ``stored`` with a thread per worker."""
    pixels = None if isinstance(source, list) else torch.from_numpy(source).permute(0, 3, 1, 2).contiguous()
    pool = ThreadPoolExecutor(WORKERS)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(source), case.batch):
            rows = range(start, start + case.batch)
            if pixels is not None:
                yield pixels[torch.tensor(rows)]
            else:
                decoded = pool.map(lambda i: decode(source[i], stored, stored, 3), rows)
                yield torch.from_numpy(np.stack(list(decoded))).permute(0, 3, 1, 2).contiguous()

    def run() -> None:
        for images in batches():
            views(images)

    return run


def jpeg_files(folder: Path, n: int) -> list[Path]:
    paths = []
    for i, pixels in enumerate(photographs(n, 375, 500)):
        memory = io.BytesIO()
        Image.fromarray(pixels).save(memory, "JPEG", quality=90)
        paths.append(folder / f"{i}.jpg")
        paths[-1].write_bytes(memory.getvalue())
    return paths


def contenders(case: Case, folder: Path) -> dict[str, Callable[[], object]]:
    """Everyone's way to make the views of all images once; ours is the first."""
    n = case.batch * case.batches
    source = jpeg_files(folder, n) if case.files else photographs(n, case.size, case.size)
    ours = our_views(case)
    found = {
        OURS: batched_run(source, case, case.stored, ours),
        "torchvision, PIL, 2 workers": loader_run(Pictures(source, torchvision_views(case)), case),
        "lightly SimCLRTransform, 2 workers": loader_run(Pictures(source, lightly_views(case)), case),
        "kornia, batched": batched_run(source, case, case.stored, kornia_views(case)),
    }
    if case.files:
        found["unlabeled, decoded to 320 px"] = batched_run(source, case, 320, ours)
    return found


def measure(case: Case, rounds: int) -> Turns:
    """Seconds of every contender, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        runs = contenders(case, Path(folder))
        for run in runs.values():
            run()
        return Turns().take({name: partial(timing.seconds, run) for name, run in runs.items()}, rounds)


def table(case: Case, turns: Turns) -> str:
    """Images a second, and everyone's time over ours."""
    rivals = [turns.ratio(name, OURS) for name in turns.taken if "workers" in name]
    lines = [
        f"**{case.title}** (target ≥ {case.target:g} × both with workers: {verdict(min(rivals), case.target)})",
        "",
        "| | images/s | their time / ours | range |",
        "|---|---:|---:|---:|",
    ]
    for name in turns.taken:
        rate = case.batch * case.batches / turns.median(name)
        lines.append(f"| {name} | {rate:,.0f} | {turns.ratio(name, OURS):.2f} | {span(turns.ratios(name, OURS))} |")
    return "\n".join(lines)
