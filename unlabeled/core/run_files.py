"""The names of everything that a run writes at the top of its folder, each once."""

from __future__ import annotations

RECIPE = "recipe.yaml"
METRICS = "metrics.csv"
ENVIRONMENT = "environment.json"
DATA = "data.json"
DEMO = "demo.json"
CHECKPOINTS = "checkpoints"
BACKBONE = "backbone"
BESIDE = ("teacher", "student")
"""Networks that a method kept beside its backbone."""
CLASSIFIER = "classifier"
PROBES = "probes"
FORGETTING = "forgetting"
PICTURES = "pictures"
TENSORBOARD = "tensorboard"
WANDB = "wandb"
MLFLOW = ("mlflow.db", "mlartifacts")
REPORT = "report.html"
FINETUNE = "finetune.json"
BEFORE_AFTER = "before_after.json"
"""Whether going on from weights helped."""
RECORD = "record.json"
CHAIN = "record.jsonl"
"""What was done to answer requests, each entry sealed with the hash of the one before."""
TABLE = "table.md"
ROLLBACKS = "rollbacks.json"
HELD_OUT = "held_out.json"
"""What `sweep` compares runs by: figures on a part of the training images, never the test images."""

LOCK = ".lock"
"""Held while a process works in the folder."""
LAST_CHECKPOINT = f"{CHECKPOINTS}/last.ckpt"
EPOCH_CHECKPOINT = f"{CHECKPOINTS}/epoch.ckpt"
LEFT_OUT = f"{FORGETTING}/left_out.npz"
SPLIT = f"{FORGETTING}/split.npz"
REQUEST = f"{FORGETTING}/request.json"
"""Names and hashes of the images of a request, until they are purged."""

WRITTEN = (
    RECIPE, METRICS, ENVIRONMENT, DATA, DEMO, CHECKPOINTS, BACKBONE, *BESIDE, CLASSIFIER, PROBES, FORGETTING, PICTURES,
    TENSORBOARD, WANDB, *MLFLOW, REPORT, FINETUNE, BEFORE_AFTER, RECORD, CHAIN, TABLE, ROLLBACKS, HELD_OUT,
)  # fmt: skip
"""Nothing else in the folder is ever removed."""
