"""How Ray is begun and ended, by one that only remembers what it was told; the real one is in tests/experiment."""

import os
import signal
import sys
from typing import Any

import pytest

from archimed.errors import SettingsError
from archimed.workers import Crew, held, ray_cluster, spread


class Remembering:
    """Stands for the library."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.ended = 0
        self.failure: Exception | None = None

    def is_initialized(self) -> bool:
        return len(self.begun) > self.ended

    def init(self, **words: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as the library does in its own way
        if self.failure is not None:
            raise self.failure
        self.begun.append(words)

    def shutdown(self) -> None:
        self.ended += 1

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def put(self, value: object) -> object:
        return value

    def remote(self, _kind: type) -> "Remembering":
        return self

    def options(self, **_words: Any) -> "Remembering":
        return self


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Remembering:
    library = Remembering()
    monkeypatch.setattr(ray_cluster, "ray_library", lambda: library)
    return library


def test_a_cluster_here_tells_nobody_and_sends_no_folder(ray: Remembering) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with held(Crew(2, "local"), threads=3):
        assert signal.getsignal(signal.SIGTERM) is before
        with held(Crew(2, "local"), threads=3):  # the same one
            pass
        assert ray.ended == 0
    (words,) = ray.begun
    assert words["address"] == "local"
    assert words["num_cpus"] == 6
    assert words["include_dashboard"] is False
    assert words["object_store_memory"] < 2**28
    assert "runtime_env" not in words
    assert ray.ended == 1


def test_usage_statistics_are_off_before_the_library_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ray_cluster.QUIET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"not installed. Install it with: pip install 'archimed\[cluster\]'"):
        ray_cluster.ray_library()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"


def test_an_address_that_nobody_answers_at_is_told_in_one_line(ray: Remembering) -> None:
    ray.failure = ConnectionError("no cluster\nmany words")
    told = r"'somewhere:6379' cannot be reached: no cluster Start one"
    with pytest.raises(SettingsError, match=told) as raised, held(Crew(2, "somewhere:6379"), threads=1):
        pass
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("ray")
def test_more_workers_than_processors_are_refused() -> None:
    told = r"4 workers of 1 threads want 4, and the cluster has 2. Use --workers 2"
    with pytest.raises(SettingsError, match=told), spread(dict, Crew(4, "auto"), 1):
        pass
