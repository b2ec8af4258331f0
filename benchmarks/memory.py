"""Memory that a ViT-L needs to go on, from counted activations: no GPU is needed.

    python benchmarks/memory.py [--architecture vit_large_patch16_224] [--gb 24]

Every tensor that the backward pass keeps is counted once, by its storage, in networks of one and two blocks: all blocks
need the same. To it come the weights, their gradients and AdamW's two moments, in float32. What kernels and the
allocator need beyond that is not counted: leave a gigabyte or two.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import timm
import torch
from _results import section
from torch import Tensor

from unlabeled.backbones import add_adapters
from unlabeled.engine.recompute import checkpoint_activations

GB = 1e9
CASES = (
    ("all weights", False, 0),
    ("all weights, `hardware.checkpoint_activations`", True, 0),
    ("`backbone.lora=8`", False, 8),
    ("`backbone.lora=8`, `hardware.checkpoint_activations`", True, 8),
)


@contextmanager
def counted(own: set[int]) -> Iterator[dict[int, int]]:
    """Bytes by storage of all that is kept for the backward pass, but for the storages in ``own``."""
    found: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:
            found[storage._cdata] = storage.nbytes()
            alive.append(storage)
        return value

    alive: list[torch.UntypedStorage] = []  # an address is used again when its storage has gone
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        yield found


def of_blocks(architecture: str, depth: int, images: int, *, again: bool, rank: int) -> np.ndarray:
    """Of a network with so many blocks: weights, those that are trained, bytes that are kept for the backward pass."""
    model = timm.create_model(architecture, num_classes=0, depth=depth).train()
    if rank:
        model.requires_grad_(False)
        add_adapters(model, rank)
    if again:
        checkpoint_activations(model)
    weights = list(model.parameters())
    own = {p.untyped_storage()._cdata for p in weights}
    with counted(own) as found, torch.autocast("cpu", torch.bfloat16):
        model(torch.zeros(images, *model.pretrained_cfg["input_size"])).float().mean()
    counts = [sum(p.numel() for p in weights), sum(p.numel() for p in weights if p.requires_grad)]
    return np.array([*counts, sum(found.values())], dtype=float)


def needed(architecture: str, *, again: bool, rank: int) -> tuple[float, float]:
    """Bytes that do not depend on the batch, and bytes of activations an image."""
    with torch.device("meta"):
        blocks = len(timm.create_model(architecture, num_classes=0).blocks)

    def whole(images: int) -> np.ndarray:
        one, two = (of_blocks(architecture, depth, images, again=again, rank=rank) for depth in (1, 2))
        return one + (blocks - 1) * (two - one)

    one, two = whole(1), whole(2)
    each = two[2] - one[2]
    return 4 * one[0] + 12 * one[1] + one[2] - each, each


def main() -> None:
    """Count, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="vit_large_patch16_224")
    parser.add_argument("--gb", type=float, default=24)
    chosen = parser.parse_args()
    lines = [
        f"## Memory of {chosen.architecture} at 224 pixels, counted",
        "",
        f"`python benchmarks/memory.py`, torch {torch.__version__}. bfloat16, AdamW. Counted from the tensors that the "
        f"backward pass keeps, not measured; images that fit into {chosen.gb:g} GB with 2 GB to spare.",
        "",
        "| what is trained | weights, gradients, AdamW (GB) | activations an image (MB) | images |",
        "|---|---:|---:|---:|",
    ]
    for name, again, rank in CASES:
        fixed, each = needed(chosen.architecture, again=again, rank=rank)
        fitting = max(0, int(((chosen.gb - 2) * GB - fixed) / each))
        lines.append(f"| {name} | {fixed / GB:.1f} | {each / 1e6:.0f} | {fitting} |")
    print("\n".join(lines))
    section("memory", "\n".join(lines))


if __name__ == "__main__":
    main()
