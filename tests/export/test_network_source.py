"""network.py of every space builds the same network, and reads as code of its own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from archimed.export.calls import recorded_calls
from archimed.export.expressions import UnwritableError
from archimed.export.formats import checked_source, rebuilt
from archimed.export.network_source import libraries, network_source
from tests.export.networks import CASES, exported, images_for

FOREIGN = ("archimed.", "jaxtyping", "type: ignore", "noqa", "SettingsError", "quick", "Mixed")
FROM_MONAI = ("resnet", "densenet", "unet", "attention", "dynunet")
MOST_LINES = 750


@pytest.mark.parametrize("name", CASES)
def test_the_source_builds_the_same_network(name: str) -> None:
    one = exported(name)
    text = checked_source(one)
    again = rebuilt(text)
    again.load_state_dict(one.network.state_dict())
    images = images_for(one.task)
    with torch.inference_mode():
        assert torch.equal(again.eval()(images), one.network(images))
    code = text.replace("as archimed found", "")
    assert [word for word in FOREIGN if word in code] == []
    assert len(text.splitlines()) < MOST_LINES
    assert max(map(len, text.splitlines())) <= 120
    known = {"torch", "numpy"} | ({"monai"} if name.startswith(FROM_MONAI) else set())
    assert {*libraries(text)} <= known


@pytest.mark.parametrize(
    "name", ["multiscale 2D", "darts 3D, instance", "fusion 3D", "weave 2D", "unet 2D", "radiomics"]
)
def test_every_definition_is_used_and_every_name_is_defined(name: str, tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    path.write_text(checked_source(exported(name)), encoding="utf-8")
    rules = "F,E,W,B,UP"
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--line-length", "120"]
    done = subprocess.run([*command, "--select", rules, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(names) == len(set(names))
    text = path.read_text(encoding="utf-8")
    assert [one for one in names if text.count(one) < 2 and one != "build_network"] == []


def test_a_flat_network_has_no_parameter_for_its_axes() -> None:
    text = checked_source(exported("multiscale 2D"))
    assert "spatial_dims" not in text
    assert "3d" not in text
    assert "[batch, channel, *space] -> [batch, width, *space]" in text


def test_members_are_built_one_by_one() -> None:
    one = exported("darts 2D", members=2)
    text = checked_source(one)
    again = rebuilt(text)
    again.load_state_dict(one.network.state_dict())
    images = images_for(one.task)
    with torch.inference_mode():
        assert torch.equal(again.eval()(images), one.network(images))


def test_what_was_not_recorded_is_refused() -> None:
    with recorded_calls() as calls:
        pass
    with pytest.raises(UnwritableError, match="nothing tells how its Linear was made"):
        network_source(nn.Linear(2, 2), calls, 2, "About.", "The network.")


def test_a_network_of_plain_layers_is_written_as_they_are() -> None:
    with recorded_calls() as calls:
        network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    text = network_source(network, calls, 2, "About.", "The network.")
    assert "nn.Conv2d(in_channels=1, out_channels=4, kernel_size=3, padding=1)" in text
    again = rebuilt(text)
    again.load_state_dict(network.state_dict())
    images = torch.randn(2, 1, 4, 4)
    assert torch.equal(again(images), network(images))
