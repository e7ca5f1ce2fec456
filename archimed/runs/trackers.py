"""Trackers: they write what a run measures where TensorBoard or MLflow shows it, and never change a run.

A tracker is told points from the run's own logs, so that a resumed run has none twice and none is missing.
"""

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol
from uuid import uuid4

from archimed.errors import SettingsError
from archimed.files import read_json, write_json
from archimed.runs.directory import RunDirectory
from archimed.runs.points import Point

EXPERIMENT = "archimed"  # the name of the MLflow experiment that all runs are in
TAG = "archimed.run"
DATABASES = ("sqlite:", "postgresql:", "mysql:", "mssql:")
SERVERS = ("http:", "https:", "databricks")
LONGEST_VALUE = 500  # characters of a parameter that every MLflow store takes
LARGEST_BATCH = 900  # metrics in one request; MLflow takes 1000


class Tracker(Protocol):
    """Is told what a run has measured."""

    def begin(self, settings: Mapping[str, str]) -> None:
        """Told once, before any point: the run's settings."""
        ...

    def write(self, points: Sequence[Point]) -> None:
        """Told points; at first all that the run has already, then new ones."""
        ...

    def close(self, finished: bool) -> None:
        """The process is done with the run; `finished` if nothing interrupted it."""
        ...


class TensorBoard:
    """Event files in `tensorboard/` of the run, one folder for each series, written anew from the run's logs."""

    def __init__(self, run: RunDirectory) -> None:
        need("tensorboard", "--tensorboard")
        self.folder = run.path / "tensorboard"
        self.writers: dict[str, Any] = {}

    def begin(self, settings: Mapping[str, str]) -> None:
        """Discard what an earlier process left, and write the settings as a table."""
        shutil.rmtree(self.folder, ignore_errors=True)
        rows = "".join(f"| {name} | {value} |\n" for name, value in settings.items())
        self._writer("settings").add_text("settings", f"| setting | value |\n| --- | --- |\n{rows}")

    def write(self, points: Sequence[Point]) -> None:
        """Write each point to the file of its series."""
        for point in points:
            writer = self._writer(point.series)
            for name, value in point.values.items():
                writer.add_scalar(name, value, point.step)
        for writer in self.writers.values():
            writer.flush()

    def close(self, finished: bool) -> None:  # noqa: ARG002
        """Close the files."""
        for writer in self.writers.values():
            writer.close()

    def _writer(self, series: str) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if series not in self.writers:
            self.writers[series] = SummaryWriter(str(self.folder / series))
        return self.writers[series]


class Mlflow:
    """One MLflow run, found again by a random identity that `tracking.json` of the run holds; no address is kept."""

    def __init__(self, run: RunDirectory, uri: str) -> None:
        need("mlflow", "--mlflow")
        if not uri.startswith((*DATABASES, *SERVERS)):
            raise SettingsError(
                f"--mlflow takes the address of a server or a database; got {uri!r}. "
                "Try --mlflow http://localhost:5000 or --mlflow sqlite:///mlflow.db"
            )
        self.run, self.uri = run, uri
        self.client: Any = None
        self.mlflow_run = ""
        self.written: dict[str, set[int]] = {}  # steps of each metric that MLflow has already

    def connect(self) -> None:
        """Reach the server or open the database, so that a wrong address is told before the work begins.

        Raises:
            SettingsError: it cannot be reached.
        """
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # nothing leaves for any other place than the one named
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow import MlflowClient

        try:
            self.client = MlflowClient(tracking_uri=self.uri)
            self.client.get_experiment_by_name(EXPERIMENT)
        except Exception as error:
            raise SettingsError(
                f"--mlflow takes the address of a running server or of a database; {self.uri.partition(':')[0]} "
                f"could not be reached: {type(error).__name__}. Start it, or correct the address."
            ) from error

    def begin(self, settings: Mapping[str, str]) -> None:
        """Find the MLflow run of this run, or make one; write the settings that it lacks."""
        from mlflow.entities import Param

        found = self._find() or self._make()
        self.mlflow_run = found.info.run_id
        self.client.set_terminated(self.mlflow_run, "RUNNING")
        self.written = {
            name: {metric.step for metric in self.client.get_metric_history(self.mlflow_run, name)}
            for name in found.data.metrics
        }
        missing = [
            Param(name, value[:LONGEST_VALUE]) for name, value in settings.items() if name not in found.data.params
        ]
        self.client.log_batch(self.mlflow_run, params=missing)

    def write(self, points: Sequence[Point]) -> None:
        """Write the points that MLflow does not have yet."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = []
        for point in points:
            for name, value in point.values.items():
                steps = self.written.setdefault(f"{point.series}/{name}", set())
                if point.step not in steps:
                    steps.add(point.step)
                    metrics.append(Metric(f"{point.series}/{name}", value, now, point.step))
        for first in range(0, len(metrics), LARGEST_BATCH):
            self.client.log_batch(self.mlflow_run, metrics=metrics[first : first + LARGEST_BATCH])

    def close(self, finished: bool) -> None:
        """Say how the run ended."""
        self.client.set_terminated(self.mlflow_run, "FINISHED" if finished else "KILLED")

    def _find(self) -> Any:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None or not self.run.tracking.exists():
            return None
        identity = read_json(self.run.tracking)["id"]
        found = self.client.search_runs([experiment.experiment_id], f"tags.`{TAG}` = '{identity}'")
        return found[0] if found else None

    def _make(self) -> Any:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else self.client.create_experiment(EXPERIMENT)
        if not self.run.tracking.exists():
            write_json(self.run.tracking, {"id": uuid4().hex})
        identity = read_json(self.run.tracking)["id"]
        return self.client.create_run(number, run_name=self.run.path.resolve().name, tags={TAG: identity})


def need(package: str, option: str) -> None:
    """Raise SettingsError unless a package that an option needs is installed."""
    if find_spec(package) is None:
        raise SettingsError(
            f"{option} needs the package {package}; it is not installed. "
            f"Install it with: pip install 'archimed[{package}]'"
        )
