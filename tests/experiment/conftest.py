from collections.abc import Callable
from pathlib import Path

import pytest

from tests.experiment.tiny import tiny_run, write_npz


@pytest.fixture(scope="session")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of two classes."""
    return write_npz(tmp_path_factory.mktemp("data") / "grey.npz")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, grey: Path) -> Path:
    """A finished run with a second search, twins among its networks, and a report; tests only read it."""
    return tiny_run(grey, tmp_path_factory.mktemp("finished") / "run", evaluation__baselines=BASELINES)


BASELINES = "random-search,random-search-100,parameters"


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the report out, which takes half the time of a tiny run; runs with a report are tested elsewhere."""

    def leave_out(folder: Path) -> Path:
        return folder

    monkeypatch.setattr("archimed.experiment.pipeline.write_report", leave_out)


Run = Callable[..., Path]
