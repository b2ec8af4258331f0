"""``unlabeled import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlabeled.cli.options import Quiet, app, parts
from unlabeled.core.errors import UserError


@app.command("import")
def import_command(
    file: Annotated[
        str, typer.Argument(help="weights of timm, torchvision, transformers, MAE, DINO, …: file, index or folder")
    ],
    model_args: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="of the timm model, e.g. global_pool=avg")
    ] = None,
    architecture: Annotated[str, typer.Option(help="timm's name of what it was trained as, e.g. resnet50")] = "",
    out: Annotated[Path | None, typer.Option(help="the folder; default: backbones/NAME-OF-THE-FILE")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="side of the images; default: the architecture's")] = None,
    channels: Annotated[int, typer.Option(min=1, help="of the images")] = 3,
    mean: Annotated[str, typer.Option(help="of the normalisation, e.g. 0.5,0.5,0.5; default: the usual one")] = "",
    std: Annotated[str, typer.Option(help="likewise")] = "",
    partial: Annotated[bool, typer.Option("--partial", help="take what fits of a file of another network")] = False,
    quiet: Quiet = False,
) -> None:
    """Make a backbone of another project's checkpoint. Says what matched and what did not."""
    from unlabeled.verbs.import_ import adopt, taken

    if not architecture:
        raise UserError("say what the weights were trained as, in timm's words: --architecture resnet50.")
    out = out or Path("backbones") / Path(file).stem
    numbers = {"mean": _numbers("mean", mean), "std": _numbers("std", std)}
    report = adopt(
        file,
        architecture,
        out,
        image_size=size,
        in_chans=channels,
        model_args=model_args or (),
        partial=partial,
        **numbers,
    )
    typer.echo(f"{report}\n{taken(out)}\n{out}: unlabeled probe local-dir:{out}")


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in parts(text)]
    except ValueError:
        raise UserError(f"--{name}: '{text}' is not a list of numbers such as 0.5,0.5,0.5.") from None
