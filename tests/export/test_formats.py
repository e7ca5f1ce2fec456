"""torch.export, ONNX and a MONAI bundle give what the network gives, for one image and for several."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from archimed.export.bundle import write_bundle
from archimed.export.formats import write_onnx, write_pt2, write_source
from archimed.export.standalone_loading import network_from_onnx, network_from_pt2
from tests.export.networks import exported, images_for

GRAPHS = ("multiscale 2D", "fusion 3D, region", "weave 2D")


@pytest.mark.parametrize("name", GRAPHS)
def test_a_torch_program_gives_the_same(name: str, tmp_path: Path) -> None:
    one = exported(name)
    written = write_pt2(one, tmp_path)
    network = network_from_pt2(tmp_path)
    for count in (1, 3):
        images = images_for(one.task, count)
        torch.testing.assert_close(network(images), one.network(images), atol=1e-4, rtol=0)
    assert all((tmp_path / file).is_file() for file in written.files)
    assert json.loads((tmp_path / "preprocess.json").read_text())["fixed_size"]


@pytest.mark.parametrize("name", GRAPHS)
def test_an_onnx_graph_gives_the_same_and_tells_the_preprocessing(name: str, tmp_path: Path) -> None:
    import onnx

    one = exported(name)
    write_onnx(one, tmp_path)
    network = network_from_onnx(tmp_path)
    with torch.inference_mode():
        for count in (1, 3):
            images = images_for(one.task, count)
            torch.testing.assert_close(network(images), one.network(images), atol=1e-4, rtol=0)
    model = onnx.load_model(tmp_path / "model.onnx")
    told = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(told["preprocessing"])["answer"]["classes"] == list(one.task.class_names)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [20]


def test_a_source_is_complete(tmp_path: Path) -> None:
    written = write_source(exported("darts 2D"), tmp_path)
    assert {file.name for file in written.files} == {path.name for path in tmp_path.iterdir()}
    assert written.needs == ("torch", "numpy")


@pytest.fixture
def without_scripts() -> Iterator[None]:
    """What a bundle put on the path, or imported from there, is gone afterwards."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]


@pytest.mark.usefixtures("without_scripts")
@pytest.mark.parametrize("name", ["multiscale 2D", "weave 2D"])
def test_monai_runs_and_loads_a_bundle(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import monai.bundle

    one = exported(name)
    folder = tmp_path / "bundle"
    write_bundle(one, folder)
    images = images_for(one.task, 2)
    (folder / "images").mkdir()
    np.savez(folder / "images" / "cases.npz", first=images[0].numpy(), second=images[1].numpy())
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monai.bundle.run(config_file="configs/inference.json")
    with torch.inference_mode():
        truth = one.network(images)
        loaded = monai.bundle.load("bundle", bundle_dir=tmp_path, workflow_type="inference", device="cpu")
        torch.testing.assert_close(loaded.eval()(images), truth)
    if one.task.kind == "segmentation":
        found = torch.from_numpy(np.load("answers/second.npy"))
        assert torch.equal(found, truth[1].argmax(0).to(torch.uint8))
    else:
        lines = Path("answers/predictions.csv").read_text().splitlines()
        assert lines[0] == "case,probability_healthy,probability_ill"
        second = [float(value) for value in lines[2].split(",")[1:]]
        assert second == pytest.approx(truth[1].softmax(0).tolist(), abs=1e-6)


def test_metadata_have_what_the_schema_of_monai_requires(tmp_path: Path) -> None:
    write_bundle(exported("fusion 3D"), tmp_path)
    told = json.loads((tmp_path / "configs" / "metadata.json").read_text())
    required = {"version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task"}
    assert required | {"description", "authors", "copyright", "network_data_format"} <= told.keys()
    image = told["network_data_format"]["inputs"]["image"]
    assert (image["num_channels"], image["spatial_shape"]) == (2, [8, 12, 10])
    assert image["channel_def"] == {"0": "PET", "1": "CT"}
