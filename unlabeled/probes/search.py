"""Exact nearest neighbours in bounded memory: one blocked matrix product and an exact two-stage selection."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core import dist
from unlabeled.core.device import send
from unlabeled.probes.arrays import Features, block_rows, take

Metric = Literal["cosine", "euclidean"]
QUERIES = 8192  # queries whose running neighbours are held at once
BANK_VALUES = 1 << 25  # values of a bank block: 128 MB in float32
TILE_VALUES = 1 << 24  # similarities of one product: 64 MB


@dataclass(frozen=True)
class Neighbours:
    """The K nearest bank rows of each query, best first.

    Attributes:
        similarity: (M, K) float32; cosine, or the negative squared euclidean distance.
        index: (M, K) int64 rows of the bank.
    """

    similarity: Tensor
    index: Tensor


def search(
    bank: Features,
    queries: Features,
    k: int,
    *,
    metric: Metric = "cosine",
    device: torch.device | None = None,
    exclude_rows: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None,
) -> Neighbours:
    """Find the ``k`` nearest rows of ``bank`` (N, D) for each row of ``queries`` (M, D), exactly.

    Memory beyond the inputs and the result stays below 500 MB, whatever N and M are.

    Args:
        bank, queries: arrays, memory maps or tensors of any float type.
        k: how many; at most N (less one with ``exclude_rows``).
        metric: what "near" means.
        device: where to compute; default: the CPU.
        exclude_rows: (M,) for each query the bank row that it may not find (itself, for leave-one-out).
    """
    place = device or torch.device("cpu")
    n, dim = bank.shape
    step = min(n, block_rows(dim, BANK_VALUES))
    # Euclidean distances lose digits when all rows share a large offset; distances do not change when it goes.
    centre = _mean(bank, place) if metric == "euclidean" else None
    parts: list[Neighbours] = []
    # The whole bank is normalised once where it fits one block, and streamed again for each chunk of queries otherwise.
    single = _prepare(take(bank, slice(0, n), place), metric, centre) if step == n else None
    for first in range(0, len(queries), QUERIES):
        chunk = slice(first, min(first + QUERIES, len(queries)))
        query, _ = _prepare(take(queries, chunk, place), metric, centre)
        excluded = None if exclude_rows is None else send(torch.from_numpy(exclude_rows[chunk]), place)
        best: Neighbours | None = None
        for start in range(0, n, step):
            rows, offset = single or _prepare(take(bank, slice(start, min(start + step, n)), place), metric, centre)
            found = _in_block(rows, offset, query, min(k, len(rows)), None if excluded is None else excluded - start)
            found = Neighbours(found.similarity, found.index + start)
            best = found if best is None else _merge(best, found, k)
        assert best is not None
        if metric == "euclidean":
            best = Neighbours((2 * best.similarity - query.square().sum(1, keepdim=True)).clamp_(max=0), best.index)
        parts.append(best)
    if not parts:  # a rank without a share of the queries
        return Neighbours(torch.empty(0, k, device=place), torch.empty(0, k, dtype=torch.int64, device=place))
    return Neighbours(torch.cat([p.similarity for p in parts]), torch.cat([p.index for p in parts]))


def search_on_ranks(
    bank: Features,
    queries: Features,
    k: int,
    *,
    metric: Metric = "cosine",
    device: torch.device | None = None,
    exclude_rows: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None,
) -> Neighbours:
    """As :func:`search`, each rank for its share of the queries; all must call it, and all get the whole answer."""
    world, count = dist.world_size(), len(queries)
    bounds = [count * rank // world for rank in range(world + 1)]
    share = slice(bounds[dist.rank()], bounds[dist.rank() + 1])
    excluded = None if exclude_rows is None else exclude_rows[share]
    mine = search(bank, queries[share], k, metric=metric, device=device, exclude_rows=excluded)
    longest = max(high - low for low, high in itertools.pairwise(bounds))

    def whole(values: Tensor) -> Tensor:
        padded = F.pad(values, (0, 0, 0, longest - len(values)))
        parts = dist.gather(padded).view(world, longest, -1)
        return torch.cat([part[: bounds[i + 1] - bounds[i]] for i, part in enumerate(parts)])

    return Neighbours(whole(mine.similarity), whole(mine.index))


def _mean(bank: Features, place: torch.device) -> Tensor:
    total = torch.zeros(bank.shape[1], dtype=torch.float64, device=place)
    step = block_rows(bank.shape[1])
    for start in range(0, len(bank), step):
        total += take(bank, slice(start, start + step), place).sum(0, dtype=torch.float64)
    return (total / len(bank)).float()


def _prepare(rows: Tensor, metric: Metric, centre: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Rows whose inner product (plus an offset of the bank's row) ranks as the metric does."""
    if metric == "cosine":
        return F.normalize(rows, dim=1), None
    assert centre is not None
    rows = rows - centre
    return rows, rows.square().sum(1).mul_(-0.5)  # xᵀb - |b|²/2 ranks as -|x - b|²


def _in_block(rows: Tensor, offset: Tensor | None, query: Tensor, k: int, excluded: Tensor | None) -> Neighbours:
    tile = max(1, min(len(query), TILE_VALUES // len(rows)))
    similarity = torch.empty(len(query), k, device=query.device)
    index = torch.empty(len(query), k, dtype=torch.int64, device=query.device)
    product = torch.empty(tile, len(rows), device=query.device)
    for start in range(0, len(query), tile):
        part = slice(start, min(start + tile, len(query)))
        out = product[: part.stop - part.start]
        if offset is None:
            torch.mm(query[part], rows.T, out=out)
        else:
            torch.addmm(offset, query[part], rows.T, out=out)
        if excluded is not None:
            at = excluded[part]
            inside = ((at >= 0) & (at < len(rows))).unsqueeze(1)
            cell = at.clamp(0, len(rows) - 1).unsqueeze(1)
            out.scatter_(1, cell, out.gather(1, cell).masked_fill(inside, -torch.inf))
        similarity[part], index[part] = top(out, k)
    return Neighbours(similarity, index)


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``torch.topk(values, k)`` over rows (M, N), several times faster for N much larger than k.

    Columns are dealt into groups. The k largest values of a row all lie in its k groups with the largest maxima
    (each other group has k values, those maxima, at least as large as all its own), so that after one streaming pass
    for the maxima only k groups need a selection.
    """
    n = values.shape[1]
    size = max(1, int((n / k) ** 0.5))  # balances the number of groups, n/size, and the candidates, k·size
    groups = n // size
    if size < 4 or groups <= k:
        found = values.topk(k, dim=1)
        return found.values, found.indices
    whole = values[:, : groups * size].view(len(values), size, groups)  # group g: columns g, g + groups, ...
    chosen = whole.amax(1).topk(k, dim=1, sorted=False).indices
    column = (chosen.unsqueeze(1) + groups * torch.arange(size, device=values.device).view(1, -1, 1)).flatten(1)
    if groups * size < n:
        rest = torch.arange(groups * size, n, device=values.device).expand(len(values), -1)
        column = torch.cat([column, rest], dim=1)
    best = values.gather(1, column).topk(k, dim=1)
    return best.values, column.gather(1, best.indices)


def _merge(first: Neighbours, second: Neighbours, k: int) -> Neighbours:
    similarity = torch.cat([first.similarity, second.similarity], dim=1)
    best = similarity.topk(min(k, similarity.shape[1]), dim=1)
    return Neighbours(best.values, torch.cat([first.index, second.index], dim=1).gather(1, best.indices))
