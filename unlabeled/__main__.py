"""``python -m unlabeled``."""

from unlabeled.cli import console

console()
