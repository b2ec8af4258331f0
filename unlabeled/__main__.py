"""``python -m unlabeled``."""

from unlabeled.cli import main

main()
