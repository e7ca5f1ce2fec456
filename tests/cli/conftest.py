from pathlib import Path

import pytest

from tests.experiment.tiny import write_npz


@pytest.fixture(scope="session")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of two classes."""
    return write_npz(tmp_path_factory.mktemp("data") / "grey.npz")
