"""Two SimCLR views per image: `unlabeled` against torchvision on PIL, lightly and kornia, on this machine.

    python benchmarks/views.py [--rounds 7] [--only 32 96 224] [--profile]

All contenders draw the same views: random resized crop, flip, colour jitter, gray, blur (not at 32 pixels),
normalisation. torchvision and lightly run in a DataLoader with two workers, as their users run them; `unlabeled` and
kornia work on batches with torch's threads. The contenders take turns (A B C D, A B C D, …), so whatever else the
machine does falls on all of them; the ratio is the median over the rounds of their time over ours in the same round.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import _results
import kornia.augmentation as K
import numpy as np
import torch
import torchvision.transforms as T
from lightly.transforms import SimCLRTransform
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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


def photographs(n: int, height: int, width: int) -> np.ndarray:
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


class Pictures(Dataset):
    """What a torchvision or lightly user writes: one PIL image at a time, two views of it."""

    def __init__(self, source: np.ndarray | list[Path], transform: Callable[[Image.Image], list[Tensor]]) -> None:
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


def lightly_views(case: Case) -> Callable[[Image.Image], list[Tensor]]:
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


@dataclass
class Contender:
    name: str
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)


def loader_run(dataset: Dataset, case: Case) -> Callable[[], object]:
    loader = DataLoader(dataset, case.batch, num_workers=WORKERS, persistent_workers=True)

    def run() -> None:
        for _ in loader:
            pass

    return run


def batched_run(
    source: np.ndarray | list[Path], case: Case, stored: int, views: Callable[[Tensor], list[Tensor]]
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


def measure(case: Case, rounds: int, folder: Path) -> list[Contender]:
    n = case.batch * case.batches
    source = jpeg_files(folder, n) if case.files else photographs(n, case.size, case.size)
    ours = our_views(case)
    contenders = [
        Contender("unlabeled", batched_run(source, case, case.stored, ours)),
        Contender("torchvision, PIL, 2 workers", loader_run(Pictures(source, torchvision_views(case)), case)),
        Contender("lightly SimCLRTransform, 2 workers", loader_run(Pictures(source, lightly_views(case)), case)),
        Contender("kornia, batched", batched_run(source, case, case.stored, kornia_views(case))),
    ]
    if case.files:
        contenders.append(Contender("unlabeled, decoded to 320 px", batched_run(source, case, 320, ours)))
    for contender in contenders:
        contender.run()
    for _ in range(rounds):
        for contender in contenders:
            start = time.perf_counter()
            contender.run()
            contender.seconds.append(time.perf_counter() - start)
    return contenders


def table(case: Case, contenders: list[Contender]) -> tuple[str, dict[str, object]]:
    ours, images = contenders[0], case.batch * case.batches
    lines = [f"**{case.title}** (target ≥ {case.target:g} ×)", "", "| | images/s | their time / ours | range |"]
    lines.append("|---|---:|---:|---:|")
    figures: dict[str, object] = {}
    for contender in contenders:
        ratios = [theirs / own for theirs, own in zip(contender.seconds, ours.seconds, strict=True)]
        rate, ratio = images / statistics.median(contender.seconds), statistics.median(ratios)
        lines.append(f"| {contender.name} | {rate:,.0f} | {ratio:.2f} | {min(ratios):.2f} – {max(ratios):.2f} |")
        figures[contender.name] = {"images_per_second": rate, "ratio": ratio, "seconds": contender.seconds}
    return "\n".join(lines), figures


def profile(case: Case) -> None:
    """Print where the time of our views goes."""
    stored = case.stored or case.size
    images = torch.from_numpy(photographs(case.batch, stored, stored)).permute(0, 3, 1, 2).contiguous()
    views = our_views(case)
    views(images)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        for _ in range(5):
            views(images)
    print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=30))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each contender is timed (at least 5)")
    parser.add_argument("--only", type=int, nargs="+", choices=CASES, default=list(CASES), help="sides in pixels")
    parser.add_argument("--profile", action="store_true", help="show where our time goes instead")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    tables, figures = [], {}
    for size in arguments.only:
        if arguments.profile:
            profile(CASES[size])
            continue
        with tempfile.TemporaryDirectory() as folder:
            text, figures[str(size)] = table(CASES[size], measure(CASES[size], arguments.rounds, Path(folder)))
        print(text, end="\n\n", flush=True)
        tables.append(text)
    if tables and set(arguments.only) == set(CASES):
        load = os.getloadavg()[0]
        note = (
            f"{_results.machine()}. `python benchmarks/views.py --rounds {arguments.rounds}`; load average {load:.1f}."
        )
        _results.section("views", "## Views\n\n" + "\n\n".join([note, *tables, FINE_PRINT]))
        _results.save("views", figures)


if __name__ == "__main__":
    main()
