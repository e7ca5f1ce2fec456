"""For every test: one thread, and no folder of the user's own is written to."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The key that hashes patients and the cache of downloads belong to the user; tests have their own."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ARCHIMED_CONFIG", str(tmp_path_factory.mktemp("config")))
    patch.setenv("ARCHIMED_CACHE", str(tmp_path_factory.mktemp("cache")))
