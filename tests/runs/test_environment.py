import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from archimed.runs import describe_environment
from archimed.runs.environment import installed_version, source_commit

ROOT = Path(__file__).parents[2]


def test_versions_and_device_but_no_user_host_or_path() -> None:
    environment = describe_environment()
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["cores"] >= 1
    assert (environment["gpu"] is None) == (not torch.cuda.is_available())
    text = json.dumps(environment)
    assert str(Path.home()) not in text
    assert str(ROOT) not in text
    assert socket.gethostname() not in text


def test_an_absent_package_has_no_version() -> None:
    assert installed_version("surely-not-installed-anywhere") is None


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    if shutil.which("git") is None:
        pytest.skip("no git here to compare with")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    return tmp_path


@pytest.mark.parametrize("state", ["branch", "packed", "detached"])
def test_the_commit_is_the_one_git_tells(checkout: Path, state: str) -> None:
    git = ["git", "-C", str(checkout)]
    if state == "packed":
        subprocess.run([*git, "pack-refs", "--all"], check=True)
    if state == "detached":
        subprocess.run([*git, "checkout", "-q", "--detach"], check=True)
    told = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert source_commit(checkout) == told


def test_no_checkout_no_commit(tmp_path: Path) -> None:
    assert source_commit(tmp_path) is None
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    assert source_commit(tmp_path) is None
