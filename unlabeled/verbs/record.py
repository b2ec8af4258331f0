"""Check the record of deletion requests: every entry's seal, and that what lies beside it is what it speaks of."""

from __future__ import annotations

from pathlib import Path

from unlabeled.backbones import digest_of
from unlabeled.core import chain, run_files
from unlabeled.core.chain import Entry
from unlabeled.core.errors import UserError
from unlabeled.runs.folder import Run


def verify_record(run: str | Path) -> list[Entry]:
    """The entries of a run's record, after checking them, ``record.json`` and the weights.

    Raises:
        UserError: there is no record, or something was changed; the message names what.
    """
    home = Run(run)
    entries = chain.verify(home.folder / run_files.CHAIN)
    told = {key: value for entry in entries for key, value in entry["content"].items()}
    if chain.digest(home.read_json(run_files.RECORD)) != told.get("record"):
        raise UserError(f"{home.folder / run_files.RECORD} was changed, or is gone: it is not what was sealed.")
    weights = home.backbone / "model.safetensors"
    if not weights.is_file() or digest_of(weights) != told.get("weights"):
        raise UserError(f"{weights} was changed, or is gone: the record speaks of other weights.")
    return entries
