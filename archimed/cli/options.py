"""Options that several verbs share, each written once."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="DATA",
        help="A .csv table, nnU-Net folder, datalist .json, class-per-folder tree, MedMNIST .npz or name, "
        "phantom:NAME, or file.py:object; several for methods that take them.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="RUN", help="The run's folder.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, dotted; repeat it. See: archimed list settings"),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings in YAML, such as a run's experiment.yaml.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:<index>.")]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="Candidates or trainings at a time.")]
ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", metavar="ADDRESS", help="Work on a Ray cluster: its address, auto, or local."),
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="Processor threads per process.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Discard what this and later stages left, and do it again.")]
TensorBoardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Also write measurements to RUN/tensorboard, for TensorBoard.")
]
MlflowOption = Annotated[
    str | None,
    typer.Option(
        "--mlflow", metavar="URI", help="Also send measurements and settings to this MLflow server or database."
    ),
]
