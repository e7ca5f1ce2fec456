import contextlib
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    JPEG2000Lossless,
    RLELossless,
)

from archimed.data.dicom.reader import is_dicom, read_dicom
from archimed.errors import DataError

Writer = Callable[..., Path]
Refused = Callable[[Path], str]


def enhanced(heights: list[float]) -> dict[str, object]:
    """Tags of an enhanced CT whose frames lie at these heights, its other geometry shared."""
    shared = Dataset()
    shared.PlaneOrientationSequence = [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    shared.PixelMeasuresSequence = [item(PixelSpacing=[0.5, 0.75])]
    shared.PixelValueTransformationSequence = [item(RescaleSlope=2, RescaleIntercept=-5)]
    frames = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, height])]) for height in heights]
    outer = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"))
    return {**outer, "SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": frames}


def item(**tags: object) -> Dataset:
    found = Dataset()
    for keyword, value in tags.items():
        setattr(found, keyword, value)
    return found


class TestFile:
    def test_one_slice_is_a_flat_image(self, write: Writer, stored: np.ndarray) -> None:
        volume = read_dicom(write("a.dcm", stored[0], PixelSpacing=[0.5, 0.75]), "here")
        assert np.array_equal(volume.pixels, stored[:1])
        assert (volume.affine, volume.spacing, volume.kind) == (None, (0.5, 0.75), "ct")

    def test_a_folder_of_one_slice_too(self, write_series: Writer, stored: np.ndarray) -> None:
        assert np.array_equal(read_dicom(write_series(stored[:1]), "here").pixels, stored[:1])

    def test_radiographs_have_the_spacing_of_the_detector(self, write: Writer) -> None:
        pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
        path = write("a.dcm", pixels, Modality="DX", PixelSpacing=None, ImagerPixelSpacing=[0.1, 0.2])
        volume = read_dicom(path, "here")
        assert (volume.spacing, volume.kind, volume.pixels.dtype) == ((0.1, 0.2), "other", np.uint16)

    def test_enhanced_multi_frame_is_a_volume(self, write: Writer, stored: np.ndarray) -> None:
        volume = read_dicom(write("a.dcm", stored, **enhanced([0, 3, 6, 9, 12])), "here")
        assert np.array_equal(volume.pixels[0], 2 * stored - 5)
        assert volume.spacing == (3, 0.5, 0.75)
        backwards = read_dicom(write("b.dcm", stored, **enhanced([12, 9, 6, 3, 0])), "here")
        assert np.array_equal(backwards.pixels[0], 2 * stored[::-1] - 5)

    def test_frames_over_time_are_refused(self, refused: Refused, write: Writer, stored: np.ndarray) -> None:
        assert "5 slices at 3 positions" in refused(write("a.dcm", stored, **enhanced([0, 3, 6, 3, 6])))
        assert "5 frames" in refused(write("b.dcm", stored, Modality="US"))
        assert "2 frames" in refused(write("c.dcm", np.zeros((2, 4, 4, 3), np.uint8), Modality="US"))

    @pytest.mark.parametrize(
        ("tags", "found"),
        [
            ({"Modality": "RTSTRUCT"}, "RTSTRUCT"),
            ({"Modality": "SEG"}, "SEG"),
            ({"Modality": "SR"}, "SR"),
            ({"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "mosaic"),
            ({"Modality": "RTDOSE"}, "RTDOSE"),
            ({"Modality": "OT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "PDF"),
            ({"PixelData": None}, "holds none"),
            ({"Rows": None}, "needs the DICOM tag Rows"),
            ({"Rows": 7}, "holds 84 bytes where its header tells of 98"),
            ({"Columns": 6}, "holds 84 bytes where its header tells of 72"),
            ({"Rows": 65535, "Columns": 65535}, "at most"),
            ({"NumberOfFrames": 2**30}, "1073741824 frames"),
            ({"BitsAllocated": 12}, "BitsAllocated must be"),
            ({"BitsStored": 12}, "HighBit"),
            ({"SamplesPerPixel": 4}, "has 4"),
            ({"PhotometricInterpretation": "CMYK"}, "PhotometricInterpretation"),
            ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
        ],
    )
    def test_what_is_no_image_is_refused(
        self, refused: Refused, write: Writer, stored: np.ndarray, tags: dict[str, object], found: str
    ) -> None:
        assert found in refused(write("a.dcm", stored[0], **tags))

    def test_what_is_not_dicom_is_refused(self, refused: Refused, tmp_path: Path) -> None:
        (tmp_path / "a.dcm").write_text("no")
        assert is_dicom(tmp_path / "a.dcm")
        assert "DICM" in refused(tmp_path / "a.dcm")
        assert "No such file" in refused(tmp_path / "b.dcm")


class TestIsDicom:
    def test_by_name_by_contents_and_by_what_a_folder_holds(self, write: Writer, tmp_path: Path) -> None:
        path = write("scans/IM_0001", np.zeros((3, 4), np.uint8))
        assert is_dicom(path)
        assert is_dicom(path.parent)
        assert not is_dicom(tmp_path)
        for name, data in (
            ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(200)),
            ("b.txt", b"text"),
            ("c", b""),
            ("d", bytes(300)),
        ):
            (tmp_path / name).write_bytes(data)
            assert not is_dicom(tmp_path / name)
        assert not is_dicom(tmp_path / "absent")

    def test_names_tell_in_a_large_folder(self, tmp_path: Path) -> None:
        for number in range(40):
            (tmp_path / f"{number:02d}.txt").write_text("a")
        assert not is_dicom(tmp_path)
        (tmp_path / "x.DCM").write_text("a")
        assert is_dicom(tmp_path)


class TestSilence:
    @pytest.mark.filterwarnings("ignore:Invalid value")
    def test_no_warning_reaches_the_terminal(
        self, refused: Refused, write: Writer, stored: np.ndarray, capfd: pytest.CaptureFixture[str]
    ) -> None:
        path = write("a.dcm", stored[0], PatientBirthDate="19610203", StudyDate="never", PatientAge="old")
        data = path.read_bytes().replace(b"never ", b"Doe^Ja").replace(b"1.2.3.4", b"1.2..x4")
        path.write_bytes(data)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read_dicom(path, "here")
            path.write_bytes(data[:-20])
            refused(path)
        assert caught == []
        assert capfd.readouterr() == ("", "")

    def test_threads_leave_the_warnings_as_they_were(self, write_series: Writer, stored: np.ndarray) -> None:
        files = sorted(write_series(stored).iterdir()) * 20
        before = list(warnings.filters)
        with ThreadPoolExecutor(4) as pool:
            sums = list(pool.map(lambda path: read_dicom(path, "here").pixels.sum(), files))
        assert sums == sums[:5] * 20
        assert list(warnings.filters) == before

    @pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless])
    def test_damage_ends_in_an_image_or_one_line(
        self,
        make: Callable[..., Dataset],
        save: Writer,
        tmp_path: Path,
        stored: np.ndarray,
        syntax: str | None,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        header = make(np.tile(stored[0], (6, 6)))
        path = save(header, tmp_path / "a.dcm")
        if syntax is not None:
            header.compress(syntax, generate_instance_uid=False)
            path = save(header, tmp_path / "a.dcm", syntax)
        capfd.readouterr()
        data = path.read_bytes()
        for seed in range(200):
            rng = np.random.default_rng(seed)
            damaged = bytearray(data)
            if seed % 4 == 0:
                damaged = damaged[: int(rng.integers(len(data)))]
            else:
                for place in rng.integers(len(data) if seed % 2 else 700, size=1 + seed % 5):
                    damaged[place % len(data)] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            with contextlib.suppress(DataError):
                read_dicom(path, "here")
        assert capfd.readouterr() == ("", "")
