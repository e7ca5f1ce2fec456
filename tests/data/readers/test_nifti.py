import gzip
import random
import struct
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from archimed.data.readers.nifti import read_nifti
from archimed.data.readers.voxels import NO_PLACE
from archimed.data.volume import Volume
from archimed.errors import DataError

RNG = np.random.default_rng(0)
VALUES = RNG.integers(-1000, 3000, (3, 4, 5)).astype(np.int16)
AFFINE = np.array([[-0.7, 0, 0, 90], [0, -0.8, 0, 80], [0, 0, 2.5, -70], [0, 0, 0, 1.0]])  # as CT: left, posterior


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = AFFINE, kind: type = nibabel.Nifti1Image) -> Path:
    nibabel.save(kind(values, affine), path)
    return path


def changed(path: Path, field: str, value: object, index: int | None = None) -> Path:
    """The file with one field of its header overwritten."""
    data = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header.from_fileobj(path.open("rb"), check=False)
    if index is None:
        header[field] = value
    else:
        header[field][index] = value
    data[:348] = header.binaryblock
    path.write_bytes(data)
    return path


def read(path: Path) -> Volume:
    return read_nifti(path, "row 1")


def refused(path: Path, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        read(path)
    assert "row 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_file_of_nibabel_is_read_exactly(tmp_path: Path, name: str, kind: type) -> None:
    found = read(save(tmp_path / name, VALUES, kind=kind))
    assert found.pixels.dtype == np.int16
    assert np.array_equal(found.pixels[0], VALUES.transpose(2, 1, 0))
    assert found.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert np.allclose(found.affine, AFFINE[:, [2, 1, 0, 3]])
    assert found.remarks == ()
    assert found.pixels.flags.c_contiguous


def test_compressed_or_not_is_seen_from_the_file(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii", VALUES).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(plain)
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain))
    assert np.array_equal(read(tmp_path / "b.nii.gz").pixels, read(tmp_path / "c.nii").pixels)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_every_orientation_ends_up_the_same_way_round(tmp_path: Path, order: tuple[int, ...], turn: float) -> None:
    for signs in product([1, -1], repeat=3):
        affine = np.diag([0.0, 0, 0, 1])
        affine[list(order), range(3)] = np.array(signs) * [1.5, 2, 3]
        affine[:3, :3] = Rotation.from_rotvec([turn * 0.6, 0, turn * 0.8]).as_matrix() @ affine[:3, :3]
        affine[:3, 3] = [5, 6, 7]
        path = save(tmp_path / "a.nii", VALUES, affine)
        expected = nibabel.as_closest_canonical(nibabel.load(path))
        found = read(path)
        assert np.array_equal(found.pixels[0], np.asarray(expected.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1])
        last = np.array(expected.shape) - 1
        assert np.allclose(found.affine @ [1, 0, 0, 1], expected.affine @ [last[0], last[1], 1, 1], atol=1e-4)
        image = SimpleITK.ReadImage(str(path))  # an independent reading of the header
        value = image.GetPixel(image.TransformPhysicalPointToIndex((found.affine @ [1, 1, 2, 1])[:3] * [-1.0, -1, 1]))
        assert value == found.pixels[0, 1, 1, 2]


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f8", ">u4"])
def test_number_types_are_kept_or_made_small_exactly(tmp_path: Path, dtype: str) -> None:
    values = RNG.integers(0, 120, (3, 4, 5)).astype(dtype)
    image = nibabel.Nifti1Image(
        values, AFFINE, nibabel.Nifti1Header(endianness="<>"[dtype[0] == ">"]), dtype=values.dtype
    )
    image.set_data_dtype(values.dtype)
    nibabel.save(image, tmp_path / "a.nii")
    found = read(tmp_path / "a.nii").pixels
    expected = {"u1": "u1", "u2": "u2", "f4": "f4", "f8": "f4", ">f8": "f4"}.get(dtype, "i2")
    assert found.dtype == np.dtype(expected)
    assert np.array_equal(found[0].transpose(2, 1, 0), values)


def test_whole_numbers_beyond_sixteen_bits_become_floating_point(tmp_path: Path) -> None:
    values = VALUES.astype(np.int32) * 100
    found = read(save(tmp_path / "a.nii", values)).pixels
    assert found.dtype == np.float32
    assert np.array_equal(found[0].transpose(2, 1, 0), values)
    assert read(save(tmp_path / "a.nii", values + 1000)).pixels.dtype == np.float32
    assert read(save(tmp_path / "b.nii", np.abs(VALUES).astype(np.int32) + 40000)).pixels.dtype == np.uint16


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1, -1024, "i2"), (2, 0, "i2"), (0.5, 3, "f4"), (1, 0.25, "f4"), (300, 0, "f4")]
)
def test_slope_and_intercept_are_applied(tmp_path: Path, slope: float, intercept: float, dtype: str) -> None:
    path = save(tmp_path / "a.nii", VALUES)
    changed(changed(path, "scl_slope", slope), "scl_inter", intercept)
    found = read(path).pixels
    assert found.dtype == np.dtype(dtype)
    assert np.allclose(found[0].transpose(2, 1, 0), nibabel.load(path).get_fdata(), rtol=1e-6)
    changed(path, "scl_slope", 0)
    assert np.array_equal(read(path).pixels[0].transpose(2, 1, 0), VALUES)


def test_sform_goes_before_qform_and_a_difference_is_told(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    moved = AFFINE.copy()
    moved[:3, 3] += 5
    image.set_qform(moved, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    found = read(tmp_path / "a.nii")
    assert np.allclose(found.affine, AFFINE[:, [2, 1, 0, 3]], atol=1e-4)
    assert "sform and qform disagree" in found.remarks[0]
    image.set_sform(AFFINE, code=0)
    nibabel.save(image, tmp_path / "a.nii")
    assert image.header["pixdim"][0] == 1
    changed(tmp_path / "a.nii", "pixdim", 0, 0)  # as older programs write it
    found = read(tmp_path / "a.nii")
    assert np.allclose(found.affine, moved[:, [2, 1, 0, 3]], atol=1e-4)
    assert found.remarks == ()


def test_a_file_without_a_place_runs_right_anterior_superior(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, None)
    image.header.set_zooms((0.5, 0.6, 0.7))
    nibabel.save(image, tmp_path / "a.nii")
    found = read(tmp_path / "a.nii")
    assert found.affine is None
    assert found.spacing == pytest.approx((0.7, 0.6, 0.5))
    assert found.remarks == (NO_PLACE,)
    assert np.array_equal(found.pixels[0], VALUES.transpose(2, 1, 0)[:, ::-1, ::-1])


def test_micrometres_become_millimetres(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, np.diag([500.0, 500, 1000, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").spacing == (1.0, 0.5, 0.5)
    assert "millimetres" in read(tmp_path / "a.nii").remarks[0]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 1, 1)])
def test_two_dimensional_files_are_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = RNG.integers(0, 9, shape).astype(np.uint8)
    found = read(save(tmp_path / "a.nii", values))
    assert np.array_equal(found.pixels, values.reshape(4, 5).T[None])
    assert found.affine is None
    assert found.spacing == pytest.approx((0.8, 0.7))
    assert found.remarks == ()
    coronal = AFFINE[:, [0, 2, 1, 3]]  # second axis upwards: the head must come first
    found = read(save(tmp_path / "b.nii", values, coronal))
    assert np.array_equal(found.pixels, values.reshape(4, 5).T[None, ::-1])
    assert found.spacing == pytest.approx((2.5, 0.7))


def test_the_fourth_axis_is_channels_if_it_is_short(tmp_path: Path) -> None:
    values = RNG.integers(0, 999, (3, 4, 5, 4)).astype(np.float32)
    found = read(save(tmp_path / "a.nii.gz", values))
    assert np.array_equal(found.pixels, values.transpose(3, 2, 1, 0))
    assert "4 volumes" in found.remarks[0]
    assert read(save(tmp_path / "b.nii", values[..., :1])).pixels.shape == (1, 5, 4, 3)
    image = SimpleITK.Compose([SimpleITK.GetImageFromArray(VALUES)] * 3)  # written with five axes
    SimpleITK.WriteImage(image, str(tmp_path / "c.nii"))
    assert np.array_equal(read(tmp_path / "c.nii").pixels, np.stack([VALUES] * 3))
    refused(save(tmp_path / "d.nii", np.zeros((2, 3, 4, 9), np.uint8)), "at most 8 channels")
    refused(save(tmp_path / "e.nii", np.zeros((2, 3, 4, 2, 2), np.uint8)), "at most 8 channels")


def test_what_is_no_grey_image_is_refused_by_name(tmp_path: Path) -> None:
    colours = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(save(tmp_path / "a.nii", colours), "RGB colours")
    refused(save(tmp_path / "b.nii", np.zeros((3, 4, 5), np.complex64)), "complex numbers")
    for bad in (np.nan, np.inf):
        values = VALUES.astype(np.float32)
        values[1, 1, 1] = bad
        refused(save(tmp_path / "c.nii", values), "NaN or infinity")
    refused(save(tmp_path / "d.nii", np.full((2, 2, 2), 1e300)), "NaN or infinity")
    (tmp_path / "e.nii").write_bytes(b"")
    refused(tmp_path / "e.nii", "does not begin")
    (tmp_path / "f.nii.gz").write_text("a page of text instead of an image, as servers send" * 20)
    refused(tmp_path / "f.nii.gz", "does not begin")


@pytest.mark.parametrize(
    ("field", "value", "index", "match"),
    [
        ("dim", 30000, 1, "more than the file can hold"),
        ("dim", 2, 1, "more than the"),
        ("dim", -3, 1, "one voxel or more"),
        ("dim", 0, 0, "one voxel or more"),
        ("datatype", 4096, None, "unknown code"),
        ("bitpix", 8, None, "does not have the 8 bits"),
        ("vox_offset", 100, None, "within the header"),
        ("vox_offset", 1e30, None, "byte"),
        ("vox_offset", np.nan, None, "not"),
        ("magic", b"ni1", None, "header and voxels in one"),
        ("srow_x", np.nan, 0, "affine"),
        ("srow_z", 0.0, 2, "without volume"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, field: str, value: object, index: int | None, match: str) -> None:
    refused(changed(save(tmp_path / "a.nii", VALUES), field, value, index), match)


def test_cut_and_overlong_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        data = save(tmp_path / name, VALUES).read_bytes()
        (tmp_path / name).write_bytes(data[:-3])
        refused(tmp_path / name, "is not")
    data = gzip.decompress(save(tmp_path / "a.nii.gz", VALUES).read_bytes())
    (tmp_path / "a.nii").write_bytes(data + b"0")
    refused(tmp_path / "a.nii", "more than the 120 bytes")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(data + bytes(10**7)))  # unpacks to more than the header tells
    refused(tmp_path / "b.nii.gz", "more than the 120 bytes")
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(data[:-1]))
    refused(tmp_path / "c.nii.gz", "ends before")


def test_a_huge_size_takes_no_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", VALUES)
    data = bytearray(path.read_bytes())
    data[40:56] = struct.pack("<8h", 3, 32767, 32767, 1, 1, 1, 1, 1)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(data)))
    refused(tmp_path / "a.nii.gz", "more than the file can hold")
    data[40:56] = struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(data)))
    refused(tmp_path / "a.nii.gz", "2\\^30 voxels")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_no_damage_gives_anything_but_a_volume_of_that_size_or_an_error(tmp_path: Path, name: str) -> None:
    data = save(tmp_path / name, VALUES).read_bytes()
    for seed in range(150):
        draw, damaged = random.Random(seed), bytearray(data)  # noqa: S311
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(min(len(data), 360))] ^= 1 << draw.randrange(8)
        (tmp_path / name).write_bytes(damaged[: draw.randrange(len(data))] if seed % 4 == 0 else damaged)
        try:
            found = read(tmp_path / name)
        except DataError:
            continue
        assert sorted(found.pixels.shape) == [1, 3, 4, 5]


@pytest.mark.data
def test_hippocampi_are_read_as_nibabel_reads_them(real_data: Path) -> None:
    paths = sorted((real_data / "seg3d" / "hippocampus_msd").glob("*/*.nii.gz"))[::20]
    assert len(paths) >= 10
    for path in paths:
        expected = nibabel.as_closest_canonical(nibabel.load(path))
        found = read(path)
        assert np.allclose(found.pixels[0], expected.get_fdata().transpose(2, 1, 0)[:, ::-1, ::-1], rtol=1e-6)
        assert found.spacing == pytest.approx(expected.header.get_zooms()[::-1])
