"""``unlabeled probe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli import completion
from unlabeled.cli.options import Quiet, app, parts, result
from unlabeled.probes.catalog import SUITE


@app.command("probe")
def probe_command(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="runs, timm:NAME, hf-hub:ID, local-dir:PATH, random:NAME, pixels"),
    ],
    data: Annotated[str | None, typer.Option(help="default: what the run was trained on")] = None,
    data_dir: Annotated[str | None, typer.Option(help="where data sets lie")] = None,
    probes: Annotated[
        str,
        typer.Option(help=f"of {','.join(SUITE)}", autocompletion=completion.some_of(SUITE)),
    ] = "linear,knn,nmc",
    layer: Annotated[str | None, typer.Option(help="an inner stage of the backbone, by name or number")] = None,
    pool: Annotated[str | None, typer.Option(help="avg, max, flat, cls, mean")] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate-batchnorm", help="BatchNorm statistics from the data")
    ] = False,
    labels: Annotated[str, typer.Option(help="also with few labels: 1%,10%,5-per-class")] = "",
    draws: Annotated[int, typer.Option(help="how many times the few labels are drawn")] = 5,
    incremental: Annotated[int | None, typer.Option(help="also with the classes arriving in so many steps")] = None,
    episodes: Annotated[str, typer.Option(help="also in small episodes: 5-way-1-shot,5-way-5-shot")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="write all figures here, and a picture")] = None,
    seed: int = 0,
    quiet: Quiet = False,
) -> None:
    """Measure what a frozen backbone knows. Accuracy of linear, kNN and other probes on held-out images."""
    from unlabeled.cli.present import show_probes
    from unlabeled.verbs.probe import probe_each
    from unlabeled.verbs.protocols import Protocols

    reports = []
    found = probe_each(
        models,
        data=data,
        data_dir=data_dir,
        probes=parts(probes),
        layer=layer,
        pool=pool,
        calibrate=calibrate,
        protocols=Protocols(parts(labels), draws, incremental, parts(episodes)),
        seed=seed,
        json_file=json_file,
    )
    try:
        for report in found:
            reports += [report]
    finally:  # what is measured is printed, whatever happens to the next model
        if reports:
            result(show_probes(reports))
