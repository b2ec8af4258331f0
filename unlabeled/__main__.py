"""``python -m unlabeled``."""

from unlabeled.cli.app import console

console()
