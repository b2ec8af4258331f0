"""Repeat a run from its folder, and say whether the result is the same, bit for bit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.progress import say
from unlabeled.recipes.schema import Recipe
from unlabeled.runs.folder import Run, environment
from unlabeled.verbs.pretrain import pretrain

PARTS = (run_files.BACKBONE, *run_files.BESIDE, run_files.CLASSIFIER)
COMPARED = ("python", "processor", "threads", "accelerators", "versions", "source")
"""What of ``environment.json`` can change the bits of a result."""


@dataclass(frozen=True)
class Rerun:
    """Two runs of one recipe.

    Attributes:
        hashes: SHA-256 of the weights of either run, by part; ``None`` where a run has no such part.
        differences: how the two environments differ, a line each.
    """

    original: Run
    repeated: Run
    hashes: dict[str, tuple[str | None, str | None]]
    differences: list[str]

    @property
    def identical(self) -> bool:
        """Whether all weights are the same bits."""
        return all(first == second for first, second in self.hashes.values())


def rerun(run: str | Path, out: str | Path | None = None) -> Rerun:
    """Carry out a run's recipe again, on the same data, with the same number of threads.

    Args:
        run: a finished run folder of ``pretrain`` or ``finetune``; never changed.
        out: the new run's folder; default: beside the run. An interrupted rerun is resumed.

    Raises:
        UserError: no finished run, one that no recipe alone can repeat, or the data changed since.
    """
    original = Run(run)
    recipe = original.recipe()
    if original.forgets():
        command = original.read_json(run_files.ENVIRONMENT).get("command", "unlabeled forget …")
        raise UserError(f"{run} was made by forgetting; repeat it with another --out: {command}")
    if not original.finished():
        raise UserError(f"the run {run} has not finished; go on with: unlabeled pretrain {run} --resume")
    repeated = Run(out if out is not None else f"{str(run).rstrip('/')}-rerun")
    if repeated.folder.resolve() == original.folder.resolve():
        raise UserError("--out is the run itself, which is never changed; choose another folder.")
    before = original.read_json(run_files.ENVIRONMENT)
    pretrain(_as_then(recipe, before.get("threads")), repeated.folder, resume=repeated.exists())
    prints = [found.read_json(run_files.DATA).get("fingerprint") for found in (original, repeated)]
    if prints[0] is not None and prints[0] != prints[1]:
        raise UserError(
            f"the images of '{recipe.data.name}' are not those that {run} was trained on (their fingerprint was "
            f"{prints[0]} and is {prints[1]}); put the old ones back, or change data.dir in its recipe.yaml."
        )
    hashes = {part: (_hash(original, part), _hash(repeated, part)) for part in PARTS}
    now = environment("")
    return Rerun(
        original,
        repeated,
        {part: pair for part, pair in hashes.items() if pair != (None, None)},
        [line for key in COMPARED for line in _differences(key, before.get(key), now[key])],
    )


def _as_then(recipe: Recipe, threads: object) -> Recipe:
    """The recipe with as many CPU threads as the run had: sums of other parts round differently."""
    if recipe.hardware.threads is not None or not isinstance(threads, int) or threads < 1:
        return recipe
    say(f"with {threads} CPU thread{'s' if threads > 1 else ''}, as the run had")
    return recipe.model_copy(update={"hardware": recipe.hardware.model_copy(update={"threads": threads})})


def _hash(run: Run, part: str) -> str | None:
    file = run.folder / part / "model.safetensors"
    if not file.is_file():
        return None
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _differences(key: str, before: object, now: object) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            f"{name}: {before.get(name)} then, {now.get(name)} now" for name in now if before.get(name) != now[name]
        ]
    return [] if before == now else [f"{key}: {before} then, {now} now"]
