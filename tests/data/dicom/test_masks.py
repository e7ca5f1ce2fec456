import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from archimed.data.dicom.contours import parity
from archimed.data.dicom.masks import read_dicom_mask
from archimed.data.dicom.reader import read_dicom
from archimed.data.volume import Volume
from archimed.errors import DataError

Writer = Callable[..., Path]
RTSTRUCT_CLASS, SEG_CLASS = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.66.4"
START, STEP, ROW, COLUMN = np.array([-20.0, 10, 50]), 3.0, 0.5, 0.75
SQUARE = np.array([[0.5, 1.5], [0.5, 4.5], [3.5, 4.5], [3.5, 1.5]])  # corners as row, column
HOLE = np.array([[1.5, 2.5], [1.5, 3.5], [2.5, 3.5], [2.5, 2.5]])


@pytest.fixture
def series(write_series: Writer, stored: np.ndarray) -> Path:
    return write_series(stored, step=(0, 0, STEP), start=tuple(START), PixelSpacing=[ROW, COLUMN])


@pytest.fixture
def reference(series: Path) -> Volume:
    return read_dicom(series, "here")


def item(**tags: object) -> Dataset:
    found = Dataset()
    for keyword, value in tags.items():
        setattr(found, keyword, value)
    return found


def contour(slice_: int, corners: np.ndarray, kind: str = "CLOSED_PLANAR") -> Dataset:
    points = [np.add(START, (column * COLUMN, row * ROW, slice_ * STEP)) for row, column in corners]
    return item(ContourGeometricType=kind, ContourData=[float(value) for value in np.ravel(points)])


def structures(rois: dict[str, list[Dataset]]) -> dict[str, object]:
    """Tags of an RTSTRUCT with these contours."""
    numbers = {name: number for number, name in enumerate(rois, start=3)}
    return {
        "SOPClassUID": RTSTRUCT_CLASS,
        "Modality": "RTSTRUCT",
        "PixelData": None,
        "StructureSetROISequence": [item(ROINumber=n, ROIName=name) for name, n in numbers.items()],
        "ROIContourSequence": [item(ReferencedROINumber=numbers[n], ContourSequence=c) for n, c in rois.items()],
    }


def segments(frames: list[tuple[int, int]], **tags: object) -> dict[str, object]:
    """Tags of a SEG whose frames are of these (segment, slice)."""
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[ROW, COLUMN], SliceThickness=STEP)],
    )
    own = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=list(np.add(START, (0, 0, slice_ * STEP))))],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=segment)],
        )
        for segment, slice_ in frames
    ]
    names = sorted({segment for segment, _ in frames})
    return {
        "SOPClassUID": SEG_CLASS,
        "Modality": "SEG",
        "SegmentationType": "BINARY",
        "SegmentSequence": [item(SegmentNumber=n, SegmentLabel=f"part {n}") for n in names],
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": own,
        **dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope")),
        **tags,
    }


def packed(frames: np.ndarray) -> dict[str, object]:
    data = np.packbits(frames.ravel(), bitorder="little").tobytes()
    return {"PixelData": data + b"\0" * (len(data) % 2), "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}


def refused(path: Path, reference: Volume, roi: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_dicom_mask(path, "line 2 of cases.csv", reference, roi)
    message = str(caught.value)
    assert "line 2 of cases.csv" in message
    assert "\n" not in message
    assert not any(text in message for text in ("HN-0421", "Doe", "Jane", "19610203"))
    return message


class TestContours:
    def test_a_structure_with_a_hole(self, write: Writer, reference: Volume) -> None:
        drawn = [contour(1, SQUARE), contour(1, HOLE), contour(2, SQUARE), contour(0, SQUARE[:1], "POINT")]
        path = write("RS.dcm", np.zeros((1, 1), np.uint8), **structures({"GTV": drawn}))
        mask = read_dicom_mask(path, "here", reference, None)
        expected = np.zeros((5, 6, 7), np.uint8)
        expected[1], expected[2] = parity([SQUARE, HOLE], (6, 7)), parity([SQUARE], (6, 7))
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, expected)
        assert (mask[1].sum(), mask[2].sum()) == (8, 9)

    def test_beside_its_series_and_by_the_folder(self, write: Writer, series: Path, reference: Volume) -> None:
        write("series/RS.dcm", np.zeros((1, 1), np.uint8), **structures({"GTV": [contour(1, SQUARE)]}))
        assert read_dicom_mask(series, "here", reference, "GTV").sum() == 9

    def test_a_sagittal_series(self, write_series: Writer, write: Writer, stored: np.ndarray) -> None:
        folder = write_series(stored, orientation=(0, 1, 0, 0, 0, -1), step=(-2, 0, 0))
        points = [-4.0, 0.5, -0.5, -4, 3.5, -0.5, -4, 3.5, -2.5, -4, 0.5, -2.5]  # in slice 2: rows 1, 2, columns 1 to 3
        drawn = item(ContourGeometricType="CLOSED_PLANAR", ContourData=points)
        path = write("RS.dcm", np.zeros((1, 1), np.uint8), **structures({"GTV": [drawn]}))
        volume = read_dicom(folder, "here")
        mask = read_dicom_mask(path, "here", volume, None)
        assert sorted(volume.pixels[0][mask > 0]) == sorted(stored[2, 1:3, 1:4].ravel())

    def test_one_of_several_structures(self, write: Writer, reference: Volume) -> None:
        rois = {"GTV": [contour(1, SQUARE)], "Heart": [contour(2, SQUARE), contour(3, SQUARE)], "empty": []}
        path = write("RS.dcm", np.zeros((1, 1), np.uint8), **structures(rois))
        assert read_dicom_mask(path, "here", reference, "heart").sum() == 18
        assert "holds several (it has GTV, Heart)" in refused(path, reference)
        assert "holds no Liver (it has GTV, Heart)" in refused(path, reference, "Liver")

    @pytest.mark.parametrize(
        ("rois", "found"),
        [
            ({"GTV": [contour(60, SQUARE)]}, "has no voxel there"),
            ({"GTV": [contour(1, SQUARE + 100)]}, "has no voxel there"),
            ({"GTV": [contour(1, SQUARE, "OPEN_PLANAR")]}, "holds none that is drawn"),
            ({"GTV": [contour(1, SQUARE[:2])]}, "ContourData must be three or more points"),
            ({"GTV": [item(ContourGeometricType="CLOSED_PLANAR", ContourData=[1.0] * 10)]}, "ContourData"),
            ({"GTV": [item(ContourGeometricType="CLOSED_PLANAR")]}, "ContourData"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused(
        self, write: Writer, reference: Volume, rois: dict[str, list[Dataset]], found: str
    ) -> None:
        assert found in refused(write("RS.dcm", np.zeros((1, 1), np.uint8), **structures(rois)), reference)

    def test_an_image_is_no_mask(self, series: Path, reference: Volume, write: Writer, stored: np.ndarray) -> None:
        assert "must be an RTSTRUCT or SEG" in refused(series / "000.dcm", reference)
        assert "holds 0" in refused(series, reference)
        path = write("RS.dcm", np.zeros((1, 1), np.uint8), **structures({"GTV": [contour(1, SQUARE)]}))
        assert "volume" in refused(path, Volume(stored[:1]))


class TestSegments:
    def test_frames_in_any_order_with_empty_slices_left_out(self, write: Writer, reference: Volume) -> None:
        drawn = np.random.default_rng(0).integers(0, 2, (4, 6, 7), dtype=np.uint8)
        path = write("s.dcm", drawn, **segments([(1, 3), (1, 0), (2, 1), (1, 1)], **packed(drawn)))
        mask = read_dicom_mask(path, "here", reference, "part 1")
        expected = np.zeros((5, 6, 7), np.uint8)
        expected[[3, 0, 1]] = drawn[[0, 1, 3]]
        assert np.array_equal(mask, expected)
        assert np.array_equal(read_dicom_mask(path, "here", reference, "part 2")[1], drawn[2])
        assert "(it has part 1, part 2)" in refused(path, reference)

    def test_one_slice_on_a_part_of_the_grid(self, write: Writer, reference: Volume) -> None:
        drawn = np.ones((1, 3, 2), np.uint8)
        mask = read_dicom_mask(write("s.dcm", drawn, **segments([(1, 2)], **packed(drawn))), "here", reference, None)
        assert mask[2, :3, :2].all()
        assert mask.sum() == 6

    def test_fractions_from_a_half_on(self, write: Writer, reference: Volume) -> None:
        drawn = np.array([[[0, 99, 100, 101, 200, 0, 0]]] * 2, np.uint8)
        tags = segments([(1, 0), (1, 1)], SegmentationType="FRACTIONAL", MaximumFractionalValue=200)
        mask = read_dicom_mask(write("s.dcm", drawn, **tags), "here", reference, None)
        assert mask[0, 0].tolist() == [0, 0, 1, 1, 1, 0, 0]

    @pytest.mark.parametrize(
        ("frames", "tags", "found"),
        [
            ([(1, 0), (1, 0)], {}, "a position of its own"),
            ([(1, 0), (1, 1), (1, 2.5)], {}, "whole steps"),
            ([(1, 0)], {"SegmentationType": "LABELMAP"}, "BINARY or FRACTIONAL"),
            ([(1, 0)], {"SharedFunctionalGroupsSequence": None}, "needs the DICOM tag"),
            ([(1, 0)], {"SegmentSequence": None}, "holds none"),
            ([(1, 90)], {}, "has no voxel there"),
        ],
    )
    def test_what_is_no_segment_is_refused(
        self, write: Writer, reference: Volume, frames: list[tuple[int, int]], tags: dict[str, object], found: str
    ) -> None:
        drawn = np.ones((len(frames), 6, 7), np.uint8)
        assert found in refused(write("s.dcm", drawn, **{**segments(frames, **packed(drawn)), **tags}), reference)


@pytest.mark.parametrize("kind", ["RTSTRUCT", "SEG"])
def test_damage_ends_in_a_mask_or_one_line(
    write: Writer, reference: Volume, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    drawn = np.ones((2, 6, 7), np.uint8)
    rois = {"GTV": [contour(1, SQUARE), contour(2, SQUARE)], "Heart": [contour(2, SQUARE)]}
    tags = structures(rois) if kind == "RTSTRUCT" else segments([(1, 0), (1, 1)], **packed(drawn))
    path = write("a.dcm", drawn, **tags)
    data = path.read_bytes()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        damaged = bytearray(data[: int(rng.integers(len(data)))] if seed % 4 == 0 else data)
        for place in rng.integers(len(data), size=1 + seed % 5):
            damaged[place % len(damaged)] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):
            read_dicom_mask(path, "here", reference, "GTV" if kind == "RTSTRUCT" else None)
    assert capfd.readouterr() == ("", "")
