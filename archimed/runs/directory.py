"""One run directory: the names of its files, its settings, and the lock of the process that works in it."""

import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archimed.errors import RunError
from archimed.files import read_json, read_lines, read_yaml, write_text
from archimed.runs.differences import first_difference, first_missing, without_measured

PLACE = re.compile(r"(?:(?P<dataset>[^.].*)\.)?fold(?P<fold>[0-9]+)\.seed(?P<seed>[0-9]+)")


@dataclass(frozen=True)
class NetworkFolder:
    """Where one network of one fold and seed lives; see `RunDirectory.network`."""

    path: Path

    @property
    def architecture(self) -> Path:
        """The search space, genotype, task and normalisation, from which the network is built."""
        return self.path / "architecture.json"

    @property
    def weights(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "weights.safetensors"

    @property
    def epochs(self) -> Path:
        """One line per training epoch."""
        return self.path / "epochs.jsonl"

    @property
    def training(self) -> Path:
        """Present once the training is complete."""
        return self.path / "training.json"

    @property
    def predictions(self) -> Path:
        """Probabilities of every validation and test case."""
        return self.path / "predictions.csv"

    def predictions_by(self, checkpoint: str | None) -> Path:
        """The same with the weights that another checkpoint metric kept; None: with the network's own."""
        return self.predictions if checkpoint is None else self.path / f"predictions.{checkpoint}.csv"

    @property
    def metrics(self) -> Path:
        """Metrics of the predictions."""
        return self.path / "metrics.json"


@dataclass(frozen=True)
class RunDirectory:
    """A run on disk; stages talk to each other only through its files."""

    path: Path

    @property
    def experiment(self) -> Path:
        """Every setting, resolved."""
        return self.path / "experiment.yaml"

    @property
    def environment(self) -> Path:
        """Versions, machine and commit."""
        return self.path / "environment.json"

    @property
    def data(self) -> Path:
        """The data's fingerprint."""
        return self.path / "data.json"

    @property
    def splits(self) -> Path:
        """Case ids of each fold's train, validation and test part."""
        return self.path / "splits.json"

    @property
    def candidates(self) -> Path:
        """One line per scored candidate."""
        return self.path / "search" / "candidates.jsonl"

    @property
    def search_epochs(self) -> Path:
        """One line per epoch of a search that learns."""
        return self.path / "search" / "epochs.jsonl"

    def search_state(self, fold: int, seed: int, dataset: str | None = None) -> Path:
        """The folder in which a search that learns keeps its state, one per fold, seed and data set of its own."""
        return self.path / "search" / "state" / place_name(fold, seed, dataset)

    @property
    def selected(self) -> Path:
        """The chosen genotypes and the rule that chose them."""
        return self.path / "search" / "selected.json"

    @property
    def trials(self) -> Path:
        """One line per settings of training that were tried, where they were tuned."""
        return self.path / "tune" / "trials.jsonl"

    @property
    def training_plan(self) -> Path:
        """What of the training fits the time budget; absent without one."""
        return self.path / "training_plan.json"

    @property
    def tracking(self) -> Path:
        """By what a run is found again in MLflow; absent where it was never tracked there."""
        return self.path / "tracking.json"

    @property
    def summary(self) -> Path:
        """The results."""
        return self.path / "summary.json"

    @property
    def report(self) -> Path:
        """The report, one offline file."""
        return self.path / "report.html"

    def network(self, name: str, fold: int, seed: int, dataset: str | None = None) -> NetworkFolder:
        """Where a network of this name, fold and seed lives, in a run of several data sets that of this one.

        Raises:
            RunError: the name, as a file of the run has it, leads elsewhere.
        """
        if not isinstance(name, str) or name in {"", ".", ".."} or any(mark in name for mark in "/\\\0"):
            raise RunError(
                f"A network's name is that of one folder; {self.path} names {name!r:.80}. Restore its files."
            )
        return NetworkFolder(self.path / "networks" / name / place_name(fold, seed, dataset))

    def read_experiment(self) -> dict[str, Any]:
        """The resolved settings of the run.

        Raises:
            RunError: the folder holds no run, or its settings are damaged.
        """
        if not self.experiment.exists():
            raise RunError(
                f"A run directory holds an experiment.yaml; {self.path} has none. "
                "Start a run there with: archimed run METHOD --data DATA --out " + str(self.path)
            )
        try:
            document = read_yaml(self.experiment)
        except ValueError as error:
            raise RunError(f"The settings of a run are damaged: {self.experiment} ({first_line(error)}).") from None
        if not isinstance(document, dict):
            raise RunError(f"The settings of a run are damaged: {self.experiment} is not a mapping.")
        return document

    def write_experiment(self, document: Mapping[str, Any]) -> None:
        """Write the resolved settings."""
        write_text(self.experiment, yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))

    def check(self, document: Mapping[str, Any]) -> None:
        """Check that the folder is new, empty, or holds a run with these settings.

        Raises:
            RunError: the folder belongs to another run or holds other files.
        """
        if self.experiment.exists():
            stored, wanted = (
                without_measured(one) for one in (self.read_experiment(), json.loads(json.dumps(document)))
            )
            if difference := first_difference(stored, wanted):
                raise RunError(
                    f"An output folder holds one run; {self.path} belongs to another: {difference}. "
                    "Choose another --out, or delete the folder."
                )
            if setting := first_missing(stored, wanted) or first_missing(wanted, stored):
                raise RunError(
                    f"A run goes on with the settings that it began with; {self.path} was made by an archimed whose "
                    f"settings were others ({setting}). Go on with the version that {self.environment} names, or run "
                    f"it anew with: archimed run --config {self.experiment} --out NEW"
                )
        elif self.path.exists() and (not self.path.is_dir() or not all(map(is_leftover, self.path.iterdir()))):
            raise RunError(f"An output folder is new or empty; {self.path} holds other files. Choose another --out.")

    def begin(self, document: Mapping[str, Any]) -> None:
        """Claim the folder: write the resolved settings, unless the run there has them already."""
        self.check(document)
        if not self.experiment.exists():
            self.write_experiment(document)

    def candidate_records(self, search: str, fold: int, seed: int, dataset: str | None = None) -> list[dict[str, Any]]:
        """The logged candidates of one search, in order."""
        key = (search, fold, seed, dataset)
        return [
            line
            for line in read_lines(self.candidates)
            if (line["search"], line["fold"], line["seed"], line.get("dataset")) == key
        ]

    def selections(self) -> list[dict[str, Any]]:
        """The networks that the search chose, as written in selected.json; [] before any."""
        return list(read_json(self.selected)["selected"]) if self.selected.exists() else []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the lock dies with the process, however it ends.

        What a killed process left half-written is removed; so is a folder made here in which no run begins.

        Raises:
            RunError: another process holds it.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise RunError(
                    f"One process at a time works in a run; {holder} holds {self.path}. Wait for it, or stop it."
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            remove_unfinished(self.path)
            try:
                yield
            finally:
                if made and not self.experiment.exists():
                    remove_empty(made)


def place_name(fold: int, seed: int, dataset: str | None = None) -> str:
    """The name of a folder: `fold<k>.seed<s>`, of one data set of several `<dataset>.fold<k>.seed<s>`."""
    return f"{f'{dataset}.' if dataset else ''}fold{fold}.seed{seed}"


def read_place(name: str) -> tuple[int, int, str | None] | None:
    """Fold, seed and data set from what `place_name` gave; None if it is no such name."""
    found = PLACE.fullmatch(name)
    return (int(found["fold"]), int(found["seed"]), found["dataset"]) if found else None


def is_leftover(path: Path) -> bool:
    """Whether a process that was killed before its run began may have left this."""
    return path.name == ".lock" or path.match(".*.part")


def remove_unfinished(folder: Path) -> None:
    """Remove files and folders that had not got their names yet when their process was killed."""
    for path in list(folder.rglob(".*.part")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, that hold nothing but a lock."""
    (folders[0] / ".lock").unlink(missing_ok=True)
    with suppress(OSError):  # one that holds something stays, and with it those around it
        for folder in folders:
            folder.rmdir()


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0]
