"""What is proven of an export: the outputs of the run's own network, and the run's figures from outside archimed."""

import csv
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from archimed.export.exported import TOLERANCE, Exported

WITHOUT_ARCHIMED = "import sys; sys.modules['archimed'] = None; sys.path.insert(0, ''); "
RUN_PREDICT = "import runpy; sys.argv[0] = 'predict.py'; runpy.run_path('predict.py', run_name='__main__')"
RUN_BUNDLE = (
    "import monai.bundle; monai.bundle.run(config_file='configs/inference.json', dataset_dir=sys.argv[1], "
    "output_dir=sys.argv[2])"
)
RUN_LOADED = (
    "import json, runpy, numpy, torch; from pathlib import Path; "
    "load = runpy.run_path('predict.py')[sys.argv[2]]; images = torch.from_numpy(numpy.load(sys.argv[1])); "
    "found = load(Path('.'))(images).detach(); numpy.save(sys.argv[3], found.numpy())"
)
RUN_BUILT = (
    "import numpy, torch, monai.bundle; "
    "place = {'bundle_dir': Path.cwd().parent, 'workflow_type': 'inference', 'device': 'cpu'}; "
    "loaded = monai.bundle.load(Path.cwd().name, **place); "
    "images = torch.from_numpy(numpy.load(sys.argv[1])); "
    "numpy.save(sys.argv[3], loaded.eval()(images).detach().numpy())"
)


class ExportError(Exception):
    """An export that does not do what the run's network does."""


@dataclass(frozen=True)
class Difference:
    """How far an export is from the run.

    Attributes:
        what: of what the difference is.
        largest: its largest absolute value.
        cases: how many were compared.
    """

    what: str
    largest: float
    cases: int


def run_outside(folder: Path, code: str, *arguments: object) -> None:
    """Run Python in the folder of an export; archimed cannot be imported there.

    Raises:
        ExportError: it fails; the last line of what it said is told.
    """
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", WITHOUT_ARCHIMED + code, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise ExportError(f"The export does not run outside archimed: {said}")


def same_outputs(exported: Exported, form: str, folder: Path, images: Tensor, loader: str) -> Difference:
    """Logits of normalised images by the export and by the run's own network.

    Raises:
        ExportError: they differ by more than the tolerance, or the export does not run.
    """
    with torch.inference_mode():
        own = exported.network(images)
    code = RUN_LOADED if form != "bundle" else "from pathlib import Path; " + RUN_BUILT
    with TemporaryDirectory() as temporary:
        taken, given = Path(temporary) / "images.npy", Path(temporary) / "logits.npy"
        np.save(taken, images.numpy())
        run_outside(folder, code, taken, loader, given)
        found = torch.from_numpy(np.load(given))
    if found.shape != own.shape:
        raise ExportError(
            f"The export gives logits of shape {tuple(found.shape)}, the run's network {tuple(own.shape)}."
        )
    return within("logits", (found - own).abs().max().item(), len(images), TOLERANCE)


def answers_outside(form: str, folder: Path, cases: Mapping[str, Tensor], masks: bool) -> dict[str, np.ndarray]:
    """The export's answers to prepared cases: probabilities [class], or masks [*space].

    Raises:
        ExportError: it does not run.
    """
    with TemporaryDirectory() as temporary:
        given, out = Path(temporary) / "images", Path(temporary) / "answers"
        given.mkdir()
        file = given / "cases.npz"
        np.savez(file, **{f"case{number}": image.numpy() for number, image in enumerate(cases.values())})  # type: ignore[arg-type]
        if form == "bundle":
            run_outside(folder, RUN_BUNDLE, given, out)
            table = out / "predictions.csv"
        else:
            table = out if masks else out.with_suffix(".csv")
            run_outside(folder, RUN_PREDICT, file, "--out", table)
        if masks:
            return {case: np.load(out / f"case{number}.npy") for number, case in enumerate(cases)}
        with table.open(newline="", encoding="utf-8") as lines:
            rows = {row["case"]: row for row in csv.DictReader(lines)}
    found = {}
    for number, case in enumerate(cases):
        row = rows[f"case{number}"]
        found[case] = np.array([float(value) for name, value in row.items() if name.startswith("probability_")])
    return found


def within(what: str, largest: float, cases: int, tolerance: float) -> Difference:
    """The difference.

    Raises:
        ExportError: it is larger than the tolerance, or no number.
    """
    if not largest <= tolerance:
        raise ExportError(
            f"The export's {what} differ from the run's by up to {largest:.2g}; {tolerance:g} is allowed."
        )
    return Difference(what, largest, cases)


def told(differences: Sequence[Difference]) -> list[str]:
    """The differences in words."""
    return [f"largest difference of {one.what} over {one.cases} cases: {one.largest:.1e}" for one in differences]
