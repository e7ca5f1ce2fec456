"""`archimed export`: a trained network as files that need no archimed."""

import json
from pathlib import Path
from typing import Annotated

import typer

from archimed.cli.options import JsonOption, QuietOption, RunArgument


def export(
    run: RunArgument,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="source (readable PyTorch), pt2 (torch.export), onnx, or bundle (MONAI).",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder, or an export to replace.")],
    network: Annotated[
        str | None, typer.Option("--network", metavar="NAME", help="Which network of the run; the method's own.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a trained network for use without archimed, with a model card, and prove that it answers the same."""
    from archimed.cli.console import Console
    from archimed.experiment.export_stage import export_run
    from archimed.export.checks import ExportError

    try:
        with Console(quiet) as console:
            document = export_run(run, form, out, network, console)
    except ExportError as error:
        typer.echo(f"archimed: {' '.join(str(error).split())} Nothing was written; please report it.", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    which = f"fold {document['fold']}, seed {document['seed']}"
    typer.echo(f"Exported: {document['network']} ({which}) as {form}, proven on {document['proven_on']}")
    for one in document["differences"]:
        typer.echo(f"  largest difference of {one['of']}: {one['largest']:.1e} ({one['cases']} cases)")
    typer.echo(f"Written to: {out}")
