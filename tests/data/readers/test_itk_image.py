import bz2
import gzip
import random
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from archimed.data.readers.itk_image import read_itk
from archimed.data.readers.voxels import NO_PLACE
from archimed.data.volume import Volume
from archimed.errors import DataError

RNG = np.random.default_rng(0)
VALUES = RNG.integers(-1000, 3000, (5, 4, 3)).astype(np.int16)  # depth, height, width, as SimpleITK has them


def image_of(values: np.ndarray, *, vector: bool = False) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(values, isVector=vector)
    image.SetSpacing((0.7, 0.8, 2.5)[: image.GetDimension()])
    image.SetOrigin((-90.0, 80.0, -70.0)[: image.GetDimension()])
    return image


def save(path: Path, image: SimpleITK.Image, compressed: bool = False) -> Path:
    SimpleITK.WriteImage(image, str(path), compressed)
    return path


def edited(path: Path, old: str, new: str) -> Path:
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))
    return path


def read(path: Path) -> Volume:
    return read_itk(path, "row 1")


def refused(path: Path, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        read(path)
    assert "row 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_of_simpleitk_is_read_exactly(tmp_path: Path, name: str, compressed: bool) -> None:
    found = read(save(tmp_path / name, image_of(VALUES), compressed))
    assert found.pixels.dtype == np.int16
    assert np.array_equal(found.pixels[0], VALUES)
    assert found.spacing == (2.5, 0.8, 0.7)
    assert np.allclose(found.affine[:3, [0, 1, 2, 3]], [[0, 0, -0.7, 90], [0, -0.8, 0, -80], [2.5, 0, 0, -70]])
    assert found.remarks == ()


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
@pytest.mark.parametrize("seed", range(6))
def test_turned_volumes_lie_where_simpleitk_has_them(tmp_path: Path, name: str, seed: int) -> None:
    image = image_of(VALUES)
    image.SetDirection(Rotation.random(random_state=seed).as_matrix().ravel().tolist())
    found = read(save(tmp_path / name, image))
    for index in np.ndindex(found.pixels.shape[1:]):
        point = (found.affine @ [*index, 1])[:3] * [-1, -1, 1]
        assert found.pixels[(0, *index)] == image.GetPixel(image.TransformPhysicalPointToIndex(point.tolist()))
    cosines = found.affine[:3, :3] / np.array(found.spacing)
    assert np.trace([cosines[2], -cosines[1], -cosines[0]]) > 1.0  # up, back, left


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_number_type_is_read(tmp_path: Path, name: str, dtype: str) -> None:
    values = RNG.integers(0, 120, (5, 4, 3)).astype(dtype)
    found = read(save(tmp_path / name, image_of(values))).pixels
    assert found.dtype == {"u1": np.uint8, "u2": np.uint16, "f4": np.float32, "f8": np.float32}.get(dtype, np.int16)
    assert np.array_equal(found[0], values)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_several_numbers_per_voxel_are_channels(tmp_path: Path, name: str) -> None:
    values = RNG.integers(0, 99, (5, 4, 3, 2)).astype(np.uint8)
    assert np.array_equal(read(save(tmp_path / name, image_of(values, vector=True))).pixels, np.moveaxis(values, -1, 0))
    series = SimpleITK.JoinSeries([image_of(VALUES)] * 4)
    assert np.array_equal(read(save(tmp_path / name, series)).pixels, np.stack([VALUES] * 4))
    assert read(tmp_path / name).affine is not None
    single = read(save(tmp_path / name, SimpleITK.JoinSeries([image_of(VALUES)])))
    assert np.array_equal(single.pixels, VALUES[None])
    refused(save(tmp_path / name, SimpleITK.JoinSeries([image_of(VALUES)] * 9)), "8 channels")


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_two_dimensional_files_are_images(tmp_path: Path, name: str) -> None:
    found = read(save(tmp_path / name, image_of(VALUES[0])))
    assert np.array_equal(found.pixels, VALUES[:1])
    assert found.affine is None
    assert found.spacing == (0.8, 0.7)
    assert found.remarks == ()
    assert np.array_equal(read(save(tmp_path / name, image_of(VALUES[:1]))).pixels, VALUES[:1])
    colours = RNG.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    assert np.array_equal(
        read(save(tmp_path / name, image_of(colours, vector=True))).pixels, np.moveaxis(colours, -1, 0)
    )


def test_nrrd_of_other_programs(tmp_path: Path) -> None:
    head = "NRRD0005\n# made by hand\ntype: unsigned short\ndimension: 3\nsizes: 3 4 5\nencoding: {}\nendian: big\n"
    values = RNG.integers(0, 60000, (5, 4, 3)).astype(">u2")
    path, data = tmp_path / "a.nrrd", values.tobytes()
    packings = {"raw": data, "gzip": gzip.compress(data), "bzip2": bz2.compress(data)}
    for encoding, block in packings.items():
        path.write_bytes((head.format(encoding) + "spacings: 1 2 3\nkey:=value: 1\n\n").encode() + block)
        found = read(path)
        assert found.pixels.dtype == np.uint16
        assert np.array_equal(found.pixels[0], values)
        assert (found.affine, found.spacing, found.remarks) == (None, (3.0, 2.0, 1.0), (NO_PLACE,))
    path.write_bytes((head.format("raw") + "byteskip: -1\ndata file: a.raw\n").encode())
    (tmp_path / "a.raw").write_bytes(b"a header of its own" + data)
    assert np.array_equal(read(path).pixels[0], values)
    right = head.format("raw") + "space: right-anterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n\n"
    path.write_bytes(right.encode() + data)
    assert np.array_equal(read(path).pixels[0], values[:, ::-1, ::-1])
    assert np.allclose(read(path).affine @ [0, 0, 0, 1], [2, 3, 0, 1])
    for encoding in ("ascii", "hex"):
        path.write_bytes((head.format(encoding) + "\n").encode() + data)
        refused(path, "save them so")


def test_channels_may_come_last_in_nrrd(tmp_path: Path) -> None:
    values = RNG.integers(0, 99, (2, 5, 4, 3)).astype(np.uint8)
    head = (
        "NRRD0004\ntype: uchar\ndimension: 4\nspace: LPS\nsizes: 3 4 5 2\nspace directions: (1,0,0) (0,1,0) (0,0,2) "
        "none\nkinds: domain domain domain list\nencoding: raw\nspace origin: (0,0,0)\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(head.encode() + values.tobytes())
    assert np.array_equal(read(tmp_path / "a.nrrd").pixels, values)


def test_metaimage_of_other_programs(tmp_path: Path) -> None:
    head = "NDims = 3\nDimSize = 3 4 5\nElementType = MET_SHORT\nElementSpacing = 1 2 3\n"
    (tmp_path / "a.raw").write_bytes(b"12345" + VALUES.astype(">i2").tobytes())
    for size in (5, -1):
        (tmp_path / "a.mhd").write_text(
            f"{head}ElementByteOrderMSB = True\nHeaderSize = {size}\nElementDataFile = a.raw\n"
        )
        assert np.array_equal(read(tmp_path / "a.mhd").pixels[0], VALUES)
        assert read(tmp_path / "a.mhd").spacing == (3.0, 2.0, 1.0)
    for name in ("LIST", "slice%03d.raw", "../a.raw", str(tmp_path / "a.raw")):
        (tmp_path / "a.mhd").write_text(f"{head}ElementDataFile = {name}\n")
        refused(tmp_path / "a.mhd", "list of files|same folder")
    (tmp_path / "a.mhd").write_text(f"{head}ElementDataFile = gone.raw\n")
    refused(tmp_path / "a.mhd", "No such file")


@pytest.mark.parametrize(
    ("name", "old", "new", "match"),
    [
        ("a.mha", "DimSize = 3 4 5", "DimSize = 3 4 50", "more than the file can hold"),
        ("a.mha", "DimSize = 3 4 5", "DimSize = 3 4 4", "more than the 96 bytes"),
        ("a.mha", "DimSize = 3 4 5", "DimSize = 99999 99999 99999", "2.30 voxels"),
        ("a.mha", "DimSize = 3 4 5", "DimSize = 3 4", "sizes"),
        ("a.mha", "NDims = 3", "NDims = 900000000", "sizes"),
        ("a.mha", "MET_SHORT", "MET_SHORT_ARRAY", "number type"),
        ("a.mha", "MET_SHORT", "MET_FLOAT", "more than the file can hold"),
        ("a.mha", "ElementSpacing = 0.7", "ElementSpacing = 0.0", "without volume"),
        ("a.mha", "ElementSpacing = 0.7", "ElementSpacing = nan", "finite numbers"),
        ("a.mha", "ElementSpacing", "DimSize", "twice"),
        ("a.mha", "ElementDataFile", "ElementDataFIle", "MetaImage"),
        ("a.nrrd", "sizes: 3 4 5", "sizes: 3 4 4", "more than the 96 bytes"),
        ("a.nrrd", "sizes: 3 4 5", "sizes: 3 -4 5", "sizes"),
        ("a.nrrd", "type: short", "type: block", "number type"),
        ("a.nrrd", "endian: little", "endian: middle", "byte order"),
        ("a.nrrd", "endian: little", "endain: little", "endain"),
        ("a.nrrd", "NRRD0004", "NRRD0009", "does not begin"),
        ("a.nrrd", "(0.7", "(inf", "finite numbers"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, name: str, old: str, new: str, match: str) -> None:
    path = save(tmp_path / name, image_of(VALUES))
    data = path.read_bytes().replace(b"0.69999999999999996", b"0.7")
    path.write_bytes(data)
    refused(edited(path, old, new), match)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_damage_to_compressed_voxels_is_seen(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, image_of(VALUES), compressed=True)
    data = bytearray(path.read_bytes())
    data[-60] ^= 4
    path.write_bytes(data)
    refused(path, "is not")
    path = save(tmp_path / name, image_of(VALUES), compressed=True)
    path.write_bytes(path.read_bytes()[:-2])
    refused(path, "is not")
    path = save(tmp_path / name, image_of(VALUES), compressed=True)
    path.write_bytes(path.read_bytes() + b"more")
    refused(path, "is not")


def test_not_finite_and_foreign_files_are_refused(tmp_path: Path) -> None:
    values = VALUES.astype(np.float32)
    values[1, 2, 1] = np.nan
    refused(save(tmp_path / "a.mha", image_of(values)), "NaN or infinity")
    for data in (b"", b"NRRD", b"\x00" * 500, b"hello = world\n" * 9, b"no header at all"):
        (tmp_path / "b.nrrd").write_bytes(data)
        refused(tmp_path / "b.nrrd", "is not")
    refused(tmp_path / "gone.mha", "No such file")


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_no_damage_gives_anything_but_a_volume_of_that_size_or_an_error(
    tmp_path: Path, name: str, compressed: bool
) -> None:
    path = save(tmp_path / name, image_of(VALUES), compressed)
    data = path.read_bytes()
    head = re.search(rb"LOCAL\n|\n\n", data).end()
    for seed in range(150):
        draw, damaged = random.Random(seed), bytearray(data)  # noqa: S311
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(head)] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged[: draw.randrange(len(data))] if seed % 4 == 0 else damaged)
        try:
            found = read(path)
        except DataError:
            continue
        assert found.pixels.size * found.pixels.itemsize == VALUES.nbytes
