"""Coverage-guided fuzzing of every reader by Atheris: `python -m tests.trust coverage --minutes 10`.

Each reader has a process of its own, `python -m tests.trust.coverage_fuzz READER FOLDER SECONDS`, since the fuzzer ends
the one that it runs in, and a decoder may. Inputs are bytes of files: at first those that Hypothesis draws, then
whatever reaches code that none before did.
"""

import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SEEDS = 40  # files that a reader begins with
WATCHED = ["archimed"]  # whose branches guide the search; to prepare whole libraries takes minutes
SECONDS_HUNG, MOST_MEGABYTES, LONGEST_INPUT = 30, 4096, 8192
IMAGES = {
    **{"png": ".png", "tiff": ".tif", "bmp": ".bmp", "jpeg": ".jpg", "nifti": ".nii", "nifti-gz": ".nii.gz"},
    **{"metaimage": ".mha", "nrrd": ".nrrd", "dicom": ".dcm"},
}
TEXTS = ("csv", "npz", "datalist", "nnunet")
RUN_FILES = (
    *("experiment.yaml", "data.json", "summary.json", "splits.json", "search/selected.json", "search/candidates.jsonl"),
    *("architecture.json", "weights.safetensors", "metrics.json", "predictions.csv"),
)
READERS = (*IMAGES, *TEXTS, "run")
Read = Callable[[bytes], object]


def fuzz_coverage(folder: Path, minutes: float) -> list[str]:
    """Give every reader its share of the time; what broke one, in one line for each."""
    if find_spec("atheris") is None:
        print("Coverage-guided fuzzing was left out: Atheris is not installed (pip install atheris).")
        return []
    broken = []
    print("| reader | inputs | branches | findings |\n| --- | --- | --- | --- |")
    for name in READERS:
        place = folder / name
        place.mkdir()
        words = [
            sys.executable,
            "-m",
            "tests.trust.coverage_fuzz",
            name,
            str(place),
            str(int(60 * minutes / len(READERS))),
        ]
        said = subprocess.run(words, capture_output=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
        told = said.stderr.decode(errors="replace")
        inputs = re.findall(r"^Done (\d+) runs", told, re.MULTILINE) or re.findall(r"^#(\d+)\t", told, re.MULTILINE)
        branches = re.findall(r"cov: (\d+)", told)
        found = sorted((place / "findings").glob("*"))
        broken += [f"{name}: {path.read_text(errors='replace')[:500]}" for path in found if path.suffix == ".txt"]
        if said.returncode:
            broken.append(f"{name}: the process ended with {said.returncode}: {told[-800:]}")
        print(f"| {name} | {int((inputs or ['0'])[-1]):,} | {(branches or ['0'])[-1]} | {len(found)} |", flush=True)
    return broken


def main() -> None:
    """Fuzz one reader in this process, which ends with it."""
    import atheris

    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    for part in ("seeds", "findings"):
        (folder / part).mkdir(exist_ok=True)
    with atheris.instrument_imports(include=WATCHED):
        watched = Watched(reader_of(name, folder), folder / "findings")
        for number, content in enumerate(seeds_of(name, folder)):
            (folder / "seeds" / f"{number}").write_bytes(content)
            watched(content)  # what is imported late is watched too
    limits = [f"-max_total_time={seconds}", f"-timeout={SECONDS_HUNG}", f"-rss_limit_mb={MOST_MEGABYTES}"]
    more = [f"-max_len={LONGEST_INPUT}", f"-artifact_prefix={folder / 'findings'}/", str(folder / "seeds")]
    atheris.Setup([sys.argv[0], *limits, *more], watched)
    atheris.Fuzz()


class Watched:
    """Reads one input; an error that is not the user's is kept, once for each place in the code."""

    def __init__(self, read: Read, findings: Path) -> None:
        self.read, self.findings = read, findings
        self.seen: set[str] = set()

    def __call__(self, content: bytes) -> None:
        from archimed.errors import ArchimedError

        try:
            self.read(content)
        except ArchimedError as error:
            if not str(error).isprintable():
                self.keep(error, content)
        except Exception as error:  # noqa: BLE001 - a finding, whatever it is
            self.keep(error, content)

    def keep(self, error: Exception, content: bytes) -> None:
        """Write an input and what it led to."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__}-{Path(last.filename).stem}-{last.lineno}"
        if place not in self.seen:
            self.seen.add(place)
            (self.findings / f"{place}.bin").write_bytes(content)
            (self.findings / f"{place}.txt").write_text("".join(traceback.format_exception(error)[-6:]))


def reader_of(name: str, folder: Path) -> Read:
    """What an input of a reader goes through."""
    if name in IMAGES:
        from archimed.data.readers.any_image import read_image

        return over_file(folder / f"image{IMAGES[name]}", lambda path: read_image(path, "the test"))
    if name in TEXTS:
        from archimed.data.settings import DataSettings
        from archimed.data.source import load_dataset
        from tests.data.test_fuzz import SOURCES

        (folder / "data").mkdir()
        path = SOURCES[name](folder / "data")
        source, settings = str(path.parent if name == "nnunet" else path), DataSettings(cache=False)
        return over_file(path, lambda _: load_dataset(source, settings, 0))
    return run_reader(folder)


def over_file(path: Path, read: Callable[[Path], object]) -> Read:
    """Reads an input as the content of a file."""

    def through(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return through


def run_reader(folder: Path) -> Read:
    """Reads a run one of whose files, which the first byte chooses, has the rest as its content."""
    from archimed.experiment.networks import load_chosen
    from archimed.experiment.settings import experiment_from_document
    from archimed.runs import RunDirectory

    run, files = folder / "run", list(run_files(folder).items())

    def through(content: bytes) -> None:
        name, whole = files[content[0] % len(files) if content else 0]
        (run / name).write_bytes(content[1:])
        try:
            experiment_from_document(RunDirectory(run).read_experiment())
            load_chosen(run)
        finally:
            (run / name).write_bytes(whole)

    return through


def run_files(folder: Path) -> Mapping[str, bytes]:
    """The files of a finished run that readers look into, by their path in it."""
    from tests.experiment.tiny import tiny_run, write_npz

    run = folder / "run"
    if not run.exists():
        tiny_run(write_npz(folder / "data.npz"), run)
    found = {name: next(run.rglob(Path(name).name)) for name in RUN_FILES}
    return {str(path.relative_to(run)): path.read_bytes() for path in found.values()}


def seeds_of(name: str, folder: Path) -> list[bytes]:
    """Inputs to begin with."""
    if name == "run":
        return [bytes([number]) + content for number, content in enumerate(run_files(folder).values())]
    if name in TEXTS:
        from tests.data.test_fuzz import SOURCES

        (folder / "whole").mkdir()
        return [SOURCES[name](folder / "whole").read_bytes()]
    return drawn(name)


def drawn(name: str) -> list[bytes]:
    """Files of a format as Hypothesis draws them."""
    from tests.trust.properties import IMAGES as STRATEGIES

    found: list[bytes] = []

    @settings(
        max_examples=SEEDS, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        one = data.draw(STRATEGIES[name.removesuffix("-gz")]())
        if name != "nifti-gz" or one.suffix.endswith(".gz"):
            found.append(one.content)

    draw()
    return found


if __name__ == "__main__":
    main()
