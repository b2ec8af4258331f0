"""faiss indexes for nearest neighbours at scale: what exact search costs too much for, with the recall it keeps."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from unlabeled.core.errors import nearest
from unlabeled.core.extras import extra
from unlabeled.core.rng import numpy_generator
from unlabeled.probes.arrays import Features, InputError, Rows, blocks, take
from unlabeled.probes.search import Metric, Neighbours, search

Kind = Literal["flat", "ivf", "hnsw"]
KINDS = ("flat", "ivf", "hnsw")
CPU = torch.device("cpu")


class FaissIndex:
    """An index over a bank (N, D).

    ``"flat"`` compares with every row (exact); ``"ivf"`` only with rows of the ``probes`` nearest of about 4√N
    k-means cells (Jégou et al. 2011); ``"hnsw"`` walks a neighbour graph (Malkov & Yashunin 2018), its beam
    4 x ``probes`` wide. Rows are kept in float32 on the CPU.

    Args:
        bank: array, memory map or tensor.
        kind: see above.
        metric: ``"cosine"`` or ``"euclidean"``.
        probes: the more, the nearer to exact and the slower.
        seed: of k-means' training rows.
    """

    def __init__(
        self, bank: Features, kind: Kind, *, metric: Metric = "cosine", probes: int = 32, seed: int = 0
    ) -> None:
        if kind not in KINDS:
            raise InputError(f"there is no index '{kind}'.{nearest(str(kind), KINDS)}")
        faiss: Any = extra("faiss", "faiss", f"index='{kind}'")  # heavy, and needed only here
        self.bank, self.metric, self.seed = bank, metric, seed
        n, dim = bank.shape
        measure = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
        self.index: Any
        if kind == "flat":
            self.index = faiss.IndexFlat(dim, measure)
        elif kind == "hnsw":
            self.index = faiss.IndexHNSWFlat(dim, 32, measure)
            self.index.hnsw.efConstruction = 128
            self.index.hnsw.efSearch = 4 * probes
        else:
            cells = max(1, min(int(4 * n**0.5), n // 39))  # faiss asks for 39 training rows a cell
            self.index = faiss.IndexIVFFlat(faiss.IndexFlat(dim, measure), dim, cells, measure)
            self.index.nprobe = min(probes, cells)
            self.index.cp.seed = seed + 1
            rows = np.sort(numpy_generator(seed, "ivf").permutation(n)[: 128 * cells])
            self.index.train(self._ready(take(bank, rows, CPU)))
        for _, block in blocks(bank, CPU):
            self.index.add(self._ready(block))

    def _ready(self, block: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        return (F.normalize(block, dim=1) if self.metric == "cosine" else block).contiguous().numpy()

    def search(self, queries: Features, k: int) -> Neighbours:
        """The ``k`` nearest rows found; where there are fewer, row 0 stands in with similarity -inf and no vote."""
        similarity, index = [], []
        for _, block in blocks(queries, CPU):
            values, rows = self.index.search(self._ready(block), k)
            similarity.append(torch.from_numpy(values if self.metric == "cosine" else -values))
            index.append(torch.from_numpy(rows))
        values, rows = torch.cat(similarity), torch.cat(index)
        missing = rows < 0
        return Neighbours(values.masked_fill(missing, -torch.inf), rows.masked_fill(missing, 0))

    def recall(self, k: int, rows: int = 500) -> float:
        """Share of the exact ``k`` nearest neighbours that the index finds, over some bank rows as queries.

        A query does not count as its own neighbour: every index finds that one.
        """
        k = min(k, len(self.bank) - 1)
        if k < 1:
            return 1.0
        chosen: Rows = np.sort(numpy_generator(self.seed, "recall").permutation(len(self.bank))[:rows])
        queries = take(self.bank, chosen, CPU)
        exact = search(self.bank, queries, k, metric=self.metric, exclude_rows=chosen).similarity
        near = self.search(queries, k + 1)
        itself = near.index == torch.from_numpy(chosen).unsqueeze(1)
        found = near.similarity.masked_fill(itself, -torch.inf).topk(k, dim=1).values
        # By similarity and not by row: among equal rows any is right.
        worst = exact[:, -1:]
        return float((found >= worst - 1e-5 * worst.abs().clamp_min(1e-3)).double().mean())
