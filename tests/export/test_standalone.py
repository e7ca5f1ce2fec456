"""What predict.py does, against archimed's own preparation, MONAI's windows, and the safetensors library."""

import json
import runpy
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.inferers.utils import sliding_window_inference
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from archimed.data.normalisation import Normalisation
from archimed.data.preparation.resampling import respace
from archimed.data.preparation.resizing import resize
from archimed.data.readers.any_image import read_image as own_read_image
from archimed.export.predict_source import predict_source
from archimed.export.standalone import normalised, sized
from archimed.export.standalone_files import read_image
from archimed.export.standalone_loading import read_weights
from archimed.export.standalone_masks import mask_logits

FLAT: dict[str, Any] = {
    "kinds": ["other"],
    "patch": [12, 10],
    "convert_channels": None,
    "mr_by_case": True,
    "spacing_mm": None,
    "size": [12, 10],
    "fit": "resize",
}


@pytest.mark.parametrize("size", [(24, 20), (17, 13), (31, 10)])
def test_windows_are_those_of_monai(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(2, 3, 5, padding=2).eval()
    images = torch.randn(2, 2, *size)
    with torch.inference_mode():
        found = mask_logits(network, images, [12, 10], False)
        window = [min(side, patch) for side, patch in zip(size, (12, 10), strict=True)]
        truth = sliding_window_inference(images, window, 1, network, 0.5, mode="gaussian")
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=1e-5)


def test_a_graph_of_one_size_sees_small_images_with_their_border() -> None:
    sizes = []

    def network(images: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(images.shape[2:]))
        return images

    image = torch.randn(1, 1, 7, 30)
    found = mask_logits(network, image, [12, 10], True)
    assert set(sizes) == {(12, 10)}
    torch.testing.assert_close(found, image)


def test_values_are_scaled_as_in_training() -> None:
    rule = Normalisation(255.0, (0.2, 0.4), (0.3, 0.5), low=(10.0, None), high=(200.0, None))
    images = torch.randint(0, 256, (1, 2, 5, 6), dtype=torch.uint8)
    found = normalised(images[0], {"normalisation": rule.to_json()})
    torch.testing.assert_close(found, rule(images)[0], atol=1e-6, rtol=1e-6)


def test_images_of_another_number_of_channels_are_refused() -> None:
    rule = Normalisation(255.0, (0.2,), (0.3,))
    with pytest.raises(SystemExit, match="1 channels; this one has 3"):
        normalised(torch.zeros(3, 4, 4), {"normalisation": rule.to_json()})


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "P"])
def test_pictures_are_read_as_archimed_reads_them(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    rng = np.random.default_rng(0)
    if mode == "I;16":
        Image.fromarray(rng.integers(0, 60000, (15, 11), dtype=np.uint16)).save(path)
    else:
        Image.fromarray(rng.integers(0, 256, (15, 11, 3), dtype=np.uint8)).convert(mode).save(path)
    found = read_image([str(path)], FLAT)
    own = torch.from_numpy(np.ascontiguousarray(own_read_image(path, "a picture").pixels))
    assert torch.equal(found, own)
    assert torch.equal(sized(found, FLAT), resize(own[None], (12, 10))[0])


def test_volumes_are_read_as_archimed_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "volume.nii.gz"
    affine = np.array([[0.0, 2.0, 0.0, -30.0], [-1.5, 0.0, 0.3, 12.0], [0.0, 0.2, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]])
    values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    settings = FLAT | {"patch": [7, 6, 5]}
    own = own_read_image(path, "a volume")
    assert torch.equal(read_image([str(path)], settings), torch.from_numpy(np.ascontiguousarray(own.pixels)))
    found = read_image([str(path)], settings | {"spacing_mm": [2.0, 1.5, 1.0]})
    there = respace(own, (2.0, 1.5, 1.0), nearest=False)
    torch.testing.assert_close(found, torch.from_numpy(np.ascontiguousarray(there.pixels)))


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="An image is one of"):
        read_image([str(tmp_path / "a.dcm")], FLAT)
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4, 5, 6)))
    with pytest.raises(SystemExit, match="images of 2 axes"):
        read_image([str(tmp_path / "a.npy")], FLAT)


def test_weights_are_read_without_their_library(tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(3, 4), "count": torch.tensor(5), "double": torch.randn(2).double()}
    save_file(weights, tmp_path / "weights.safetensors")
    found = read_weights(tmp_path / "weights.safetensors")
    assert {name: value.dtype for name, value in found.items()} == {name: one.dtype for name, one in weights.items()}
    assert all(torch.equal(found[name], value) for name, value in weights.items())


@pytest.mark.parametrize("form", ["source", "pt2", "onnx"])
def test_predict_is_code_of_its_own(form: str, tmp_path: Path) -> None:
    text = predict_source(form)
    assert "archimed" not in text
    path = tmp_path / "predict.py"
    path.write_text(text, encoding="utf-8")
    defined = runpy.run_path(str(path), run_name="predict")
    rule = {"normalisation": Normalisation(2.0, (1.0,), (0.5,)).to_json()}
    image = torch.arange(6.0).reshape(1, 2, 3)
    assert torch.equal(defined["normalised"](image, json.loads(json.dumps(rule))), normalised(image, rule))
