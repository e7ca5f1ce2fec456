"""`archimed predict`: a finished run's answers for images without labels."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from archimed.cli.options import DeviceOption, JsonOption, QuietOption, RunArgument

SHOWN = 20  # cases listed on the screen; all are in the file


def predict(
    run: RunArgument,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE...", help="Image files, folders of images or DICOM series, .csv or .npz; labels not needed."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE|DIR", help="A new .csv file or folder; a table on stdout if left out."),
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option("--modality", metavar="NAME=FILE", help="One case of several files: repeat for each modality."),
    ] = None,
    region: Annotated[
        Path | None, typer.Option("--region", metavar="MASK", help="The region of interest, where the run has regions.")
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="NAME", help="Which network of the run; the chosen one.")
    ] = None,
    members: Annotated[
        str | None,
        typer.Option("--members", metavar="NAME,NAME", help="Which trainings, as fold0.seed0; all if left out."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME", help="Whose networks, in a run of several data sets.")
    ] = None,
    flips: Annotated[bool, typer.Option("--flips", help="Average the answers to the image and its mirrors.")] = False,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Probabilities as the networks gave them.")
    ] = False,
    device: DeviceOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer for images by the networks of a run: classes with probabilities, or masks on the images' own grids."""
    from archimed.cli.console import Console
    from archimed.errors import DataError
    from archimed.experiment.predict_stage import Question, predict_run
    from archimed.experiment.prediction_files import table_of

    asked = Question(
        images=tuple(images or ()),
        by_modality=by_modality(modality or []),
        region=region,
        network=network,
        members=tuple(name for name in (members or "").split(",") if name),
        dataset=dataset,
        flips=flips,
        calibrated=not uncalibrated,
        device=device,
    )
    with Console(quiet) as console:
        document = predict_run(run, asked, out, console)
        if out is None:
            for caution in document["cautions"]:
                console.say(f"Caution: {caution}")
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    elif out is None:
        typer.echo(table_of(document), nl=False)
    else:
        show(document, out)
    if failed := document["failed"]:
        for one in failed:
            typer.echo(f"Not answered: {one['image']}: {one['reason']}", err=True)
        asked_about = len(failed) + len(document["cases"])
        raise DataError(f"{len(failed)} of {asked_about} images cannot be used; the others are answered. Mend those.")


def by_modality(words: list[str]) -> dict[str, Path]:
    """The file of each modality, as --modality NAME=FILE names them.

    Raises:
        SettingsError: a word has another form, or a modality is named twice.
    """
    from archimed.errors import SettingsError

    found: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path) or name in found:
            raise SettingsError(
                f"--modality takes NAME=FILE, each name once, as in --modality pet=PET.nii; got {word!r}."
            )
        found[name] = Path(path).expanduser()
    return found


def show(document: dict[str, Any], out: Path) -> None:
    """The first answers, the cautions, and where all of them are."""
    several = len(document["members"])
    by = f"{document['network']}, the mean of {several} trainings" if several > 1 else document["network"]
    how = document["calibration"]
    calibrated = "" if document["task"] == "segmentation" else f"; calibration: {how}"
    typer.echo(f"{len(document['cases'])} cases by {by}{calibrated}:")
    for case in document["cases"][:SHOWN]:
        typer.echo(f"  {case['case']:<28} {answer_words(document, case)}")
    if len(document["cases"]) > SHOWN:
        typer.echo(f"  ... and {len(document['cases']) - SHOWN} more")
    for caution in document["cautions"]:
        typer.echo(f"Caution: {caution}")
    typer.echo(f"Written to: {out}")


def answer_words(document: dict[str, Any], case: dict[str, Any]) -> str:
    """The answer for one case in a few words."""
    if document["task"] == "segmentation":
        sizes, unit = (case["millilitres"], "ml") if "millilitres" in case else (case["pixels"], "pixels")
        return f"{case['mask']}: " + ", ".join(f"{name} {size:.6g} {unit}" for name, size in sizes.items())
    if document["task"] == "multi-label":
        given = [f"{name} ({case['probabilities'][name]:.2f})" for name in case["predicted"]]
        return ", ".join(given) or "none"
    return f"{case['predicted']} ({case['probabilities'][case['predicted']]:.2f})"
