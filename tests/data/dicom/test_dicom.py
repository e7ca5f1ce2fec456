import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from archimed.data.dicom import is_dicom, read_dicom
from archimed.errors import DataError

Writer = Callable[..., Path]
ANGLE = np.deg2rad(20)
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "oblique": (np.cos(ANGLE), np.sin(ANGLE), 0, 0, 0, -1),
}


def refused(path: Path) -> str:
    """The one line in which a file is refused, which never names the patient."""
    with pytest.raises(DataError) as caught:
        read_dicom(path, "line 2 of cases.csv")
    message = str(caught.value)
    assert "line 2 of cases.csv" in message
    assert "\n" not in message
    assert not any(text in message for text in ("HN-0421", "Doe", "Jane", "19610203"))
    return message


class TestSeries:
    @pytest.mark.parametrize("name", ORIENTATIONS)
    @pytest.mark.parametrize("sign", [1, -1])
    def test_voxels_lie_where_simpleitk_puts_them(
        self, write_series: Writer, stored: np.ndarray, name: str, sign: int
    ) -> None:
        orientation = ORIENTATIONS[name]
        normal = np.cross(orientation[:3], orientation[3:])
        folder = write_series(
            stored,
            orientation=orientation,
            step=tuple(sign * 2.5 * normal),
            start=(-31.25, 12.5, 104.75),
            PixelSpacing=[0.75, 1.25],
            PatientPosition="HFS",
        )
        volume = read_dicom(folder, "here")
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
        assert volume.pixels.size == stored.size
        assert volume.affine is not None
        for index in np.ndindex(volume.pixels.shape[1:]):
            x, y, z, _ = volume.affine @ [*index, 1]
            there = image.TransformPhysicalPointToContinuousIndex((-x, -y, z))
            np.testing.assert_allclose(there, np.rint(there), atol=1e-3)
            assert image.GetPixel([round(i) for i in there]) == volume.pixels[(0, *index)]

    @pytest.mark.parametrize("name", ORIENTATIONS)
    def test_axes_run_towards_head_back_and_left(self, write_series: Writer, stored: np.ndarray, name: str) -> None:
        orientation = ORIENTATIONS[name]
        folder = write_series(stored, orientation=orientation, step=tuple(np.cross(orientation[:3], orientation[3:])))
        affine = read_dicom(folder, "here").affine
        assert affine is not None
        assert affine[2, 0] > 0.9
        assert affine[1, 1] < -0.9
        assert affine[0, 2] < -0.9

    def test_hounsfield_units_patient_and_spacing(self, write_series: Writer, stored: np.ndarray) -> None:
        folder = write_series((stored + 1024).astype(np.uint16), RescaleIntercept=-1024, PixelSpacing=[0.5, 0.75])
        volume = read_dicom(folder, "here")
        assert np.array_equal(volume.pixels[0], stored)
        assert (volume.pixels.dtype, volume.kind, volume.patient) == (np.int16, "ct", "HN-0421")
        assert volume.spacing == (3, 0.5, 0.75)
        assert "HN-0421" not in repr(volume)

    def test_each_slice_has_its_own_scale(self, write_series: Writer, stored: np.ndarray) -> None:
        slopes = [0.5, 1.5, 2.25, 1.0, 3.0]
        folder = write_series(stored, Modality="MR", RescaleSlope=slopes, RescaleIntercept=[1, 2, 3, 4, 5])
        volume = read_dicom(folder, "here")
        assert (volume.pixels.dtype, volume.kind) == (np.float32, "mr")
        expected = stored * np.array(slopes)[:, None, None] + np.arange(1, 6)[:, None, None]
        np.testing.assert_allclose(volume.pixels[0], expected, rtol=1e-6)

    def test_units_beyond_16_bits_are_not_cut(self, write_series: Writer, stored: np.ndarray) -> None:
        volume = read_dicom(write_series(stored, RescaleSlope=40), "here")
        assert volume.pixels.dtype == np.float32
        np.testing.assert_array_equal(volume.pixels[0], stored.astype(np.float32) * 40)

    def test_positions_rounded_by_a_scanner_are_no_gap(self, write_series: Writer, stored: np.ndarray) -> None:
        positions = [[0, 0, z] for z in (0.0, 0.6, 1.3, 1.9, 2.5)]
        volume = read_dicom(write_series(stored, ImagePositionPatient=positions), "here")
        assert volume.spacing == (0.625, 1, 1)

    def test_gantry_tilt_is_kept_in_the_affine(self, write_series: Writer, stored: np.ndarray) -> None:
        volume = read_dicom(write_series(stored, step=(0, 0.8, 3)), "here")
        assert volume.affine is not None
        np.testing.assert_allclose(volume.affine[:3, 0], [0, -0.8, 3])
        assert "gantry tilt" in volume.remarks[0]

    @pytest.mark.parametrize(("left_out", "found"), [(1, "6 mm"), (3, "6 mm")])
    def test_a_gap_is_refused(self, write_series: Writer, stored: np.ndarray, left_out: int, found: str) -> None:
        heights = [3 * index for index in range(6) if index != left_out]
        message = refused(write_series(stored, ImagePositionPatient=[[0, 0, z] for z in heights]))
        assert f"step of {found} where 3 mm" in message

    def test_steps_that_drift_are_refused(self, write_series: Writer, stored: np.ndarray) -> None:
        assert "a step of" in refused(
            write_series(stored, ImagePositionPatient=[[0, 0, z] for z in (0, 3, 6, 9.5, 13)])
        )

    def test_a_bent_stack_is_refused(self, write_series: Writer, stored: np.ndarray) -> None:
        positions = [[5 * (index == 2), 0, 3 * index] for index in range(5)]
        assert "straight line" in refused(write_series(stored, ImagePositionPatient=positions))

    def test_slices_at_one_position_are_refused(self, write_series: Writer, stored: np.ndarray) -> None:
        message = refused(write_series(stored, ImagePositionPatient=[[0, 0, z] for z in (0, 3, 6, 6, 9)]))
        assert "5 slices at 4 positions" in message

    @pytest.mark.parametrize(
        ("tags", "found"),
        [
            ({"SeriesInstanceUID": ["1.1", "1.1", "1.2", "1.2", "1.3"]}, "holds 3 (3 CT)"),
            (
                {"SeriesInstanceUID": ["1", "1", "2", "2", "2"], "Modality": ["CT", "CT", "PT", "PT", "PT"]},
                "holds 2 (1 CT, 1 PT)",
            ),
            ({"PatientID": ["HN-0421", "HN-0421", "HN-0421", "HN-0421", "HN-0422"]}, "one patient"),
            ({"PixelSpacing": [[1, 1], [1, 1], [1, 1], [1, 2], [1, 1]]}, "different PixelSpacing"),
            ({"ImageOrientationPatient": [[1, 0, 0, 0, 1, 0]] * 4 + [[0, 1, 0, 0, 0, -1]]}, "localizer"),
            ({"ImageOrientationPatient": [None] * 5}, "needs the DICOM tag ImageOrientationPatient"),
            ({"ImagePositionPatient": [None] * 5}, "needs the DICOM tag ImagePositionPatient"),
            ({"ImageOrientationPatient": [[1, 0, 0, 1, 0, 0]] * 5}, "right angles"),
            ({"PixelSpacing": [[0, 1]] * 5}, "PixelSpacing must be above 0"),
            ({"RescaleIntercept": [None] * 5}, "needs the DICOM tag RescaleIntercept"),
            ({"RescaleSlope": [0] * 5}, "RescaleSlope must not be 0"),
        ],
    )
    def test_what_is_no_single_series_is_refused(
        self, write_series: Writer, stored: np.ndarray, tags: dict[str, object], found: str
    ) -> None:
        assert found in refused(write_series(stored, **tags))

    def test_slices_of_two_sizes_are_refused(self, write_series: Writer, write: Writer, stored: np.ndarray) -> None:
        folder = write_series(stored)
        write("series/more.dcm", stored[0, :5], ImagePositionPatient=[0, 0, 15])
        assert "6 x 7 and of 5 x 7" in refused(folder)

    def test_other_files_beside_a_series_are_left_out(
        self, write_series: Writer, write: Writer, stored: np.ndarray
    ) -> None:
        folder = write_series(stored)
        (folder / "LICENSE.txt").write_text("free")
        (folder / ".DS_Store").write_bytes(b"\x00")
        write("series/RS.dcm", stored[0], Modality="RTSTRUCT", SeriesInstanceUID="1.9", PixelData=None)
        volume = read_dicom(folder, "here")
        assert volume.pixels.shape == (1, 5, 6, 7)
        assert volume.remarks == ("what is no image was left out (1 RTSTRUCT)",)

    def test_a_damaged_slice_is_named(self, write_series: Writer, stored: np.ndarray) -> None:
        folder = write_series(stored)
        (folder / "002.dcm").write_bytes((folder / "002.dcm").read_bytes()[:-20])
        assert "002.dcm" in refused(folder)

    def test_a_folder_without_images_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "inner").mkdir()
        assert "holds none" in refused(tmp_path)


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

    def test_monochrome1_is_inverted_within_the_bits_stored(self, write: Writer) -> None:
        pixels = np.array([[0, 1, 4095], [7, 8, 9]], np.uint16)
        tags = {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"}
        volume = read_dicom(write("a.dcm", pixels, Modality="CR", **tags), "here")
        assert np.array_equal(volume.pixels[0], 4095 - pixels)
        assert volume.remarks == ("MONOCHROME1 was inverted",)
        assert np.array_equal(read_dicom(write("b.dcm", pixels, **tags), "here").pixels[0], pixels)

    def test_signed_monochrome1(self, write: Writer) -> None:
        pixels = np.array([[-5, 0, 5]], np.int16)
        path = write("a.dcm", pixels, Modality="CR", PhotometricInterpretation="MONOCHROME1")
        assert np.array_equal(read_dicom(path, "here").pixels[0], -1 - pixels)

    def test_unused_bits_are_not_read(self, write: Writer) -> None:
        pixels = np.array([[0x8001, 0x7FFF, 0x0FFF]], np.uint16)
        path = write("a.dcm", pixels, Modality="CR", BitsStored=12, HighBit=11)
        assert np.array_equal(read_dicom(path, "here").pixels[0], pixels & 0x0FFF)

    def test_palette_colours(self, write: Writer) -> None:
        pixels = np.array([[0, 1], [2, 3]], np.uint8)
        tables = {
            "Red": [0, 255, 0, 9],
            "Green": [0, 0, 255, 8],
            "Blue": [0, 10, 20, 7],
        }
        tags: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR", "Modality": "US"}
        for colour, values in tables.items():
            tags[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
            tags[f"{colour}PaletteColorLookupTableData"] = (np.array(values, "<u2") << 8).tobytes()
        volume = read_dicom(write("a.dcm", pixels, **tags), "here")
        assert volume.pixels.dtype == np.uint8
        for channel, values in enumerate(tables.values()):
            assert np.array_equal(volume.pixels[channel].ravel(), values)

    def test_ybr_becomes_rgb(self, write: Writer) -> None:
        ybr = np.random.default_rng(0).integers(60, 180, (4, 5, 3), dtype=np.uint8)
        path = write("a.dcm", ybr, Modality="US", PhotometricInterpretation="YBR_FULL")
        y, b, r = np.moveaxis(ybr.astype(float), -1, 0)  # ITU-R BT.601, as PS3.3 C.7.6.3.1.2 gives it
        expected = [y + 1.402 * (r - 128), y - 0.344136 * (b - 128) - 0.714136 * (r - 128), y + 1.772 * (b - 128)]
        assert np.abs(read_dicom(path, "here").pixels - np.clip(expected, 0, 255)).max() <= 1

    def test_colours_by_plane(self, write: Writer) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        path = write("a.dcm", rgb, Modality="SC", PlanarConfiguration=1, PixelData=np.moveaxis(rgb, -1, 0).tobytes())
        assert np.array_equal(read_dicom(path, "here").pixels, np.moveaxis(rgb, -1, 0))

    def test_a_coloured_view_of_a_ct_is_no_ct(self, write: Writer) -> None:
        volume = read_dicom(write("a.dcm", np.zeros((4, 5, 3), np.uint8), RescaleSlope=None), "here")
        assert volume.kind == "other"

    def test_floating_point_pixels(self, write: Writer) -> None:
        values = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
        tags = {"PixelData": None, "BitsStored": None, "Modality": "OT", "RescaleSlope": None, "RescaleIntercept": None}
        path = write("a.dcm", values, FloatPixelData=values.tobytes(), **tags)
        assert np.array_equal(read_dicom(path, "here").pixels[0], values)
        values[1, 2] = np.nan
        assert "NaN" in refused(write("b.dcm", values, FloatPixelData=values.tobytes(), **tags))

    def test_single_bits(self, write: Writer) -> None:
        bits = np.random.default_rng(0).integers(0, 2, (3, 5), dtype=np.uint8)
        packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
        tags = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Modality": "OT"}
        path = write("a.dcm", bits, PixelData=packed, **tags)
        assert np.array_equal(read_dicom(path, "here").pixels[0], bits * 255)

    def test_modality_look_up_table(self, write: Writer) -> None:
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
        table["LUTDescriptor"].VR = "US"
        table.LUTData = [10, 40, 90, 160]
        table["LUTData"].VR = "US"
        tags = {"ModalityLUTSequence": [table], "Modality": "CR", "RescaleSlope": None, "RescaleIntercept": None}
        path = write("a.dcm", np.array([[0, 1], [2, 3]], np.uint8), **tags)
        assert read_dicom(path, "here").pixels.ravel().tolist() == [10, 40, 90, 160]

    def test_enhanced_multi_frame_is_a_volume(self, write: Writer, stored: np.ndarray) -> None:
        volume = read_dicom(write("a.dcm", stored, **enhanced([0, 3, 6, 9, 12])), "here")
        assert np.array_equal(volume.pixels[0], 2 * stored - 5)
        assert volume.spacing == (3, 0.5, 0.75)
        backwards = read_dicom(write("b.dcm", stored, **enhanced([12, 9, 6, 3, 0])), "here")
        assert np.array_equal(backwards.pixels[0], 2 * stored[::-1] - 5)

    def test_frames_over_time_are_refused(self, write: Writer, stored: np.ndarray) -> None:
        assert "5 slices at 3 positions" in refused(write("a.dcm", stored, **enhanced([0, 3, 6, 3, 6])))
        assert "5 frames" in refused(write("b.dcm", stored, Modality="US"))
        assert "2 frames" in refused(write("c.dcm", np.zeros((2, 4, 4, 3), np.uint8), Modality="US"))

    @pytest.mark.parametrize(
        ("tags", "found"),
        [
            ({"Modality": "RTSTRUCT"}, "RTSTRUCT"),
            ({"Modality": "SEG"}, "SEG"),
            ({"Modality": "SR"}, "SR"),
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
        self, write: Writer, stored: np.ndarray, tags: dict[str, object], found: str
    ) -> None:
        assert found in refused(write("a.dcm", stored[0], **tags))

    def test_what_is_not_dicom_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.dcm").write_text("no")
        assert is_dicom(tmp_path / "a.dcm")
        assert "DICM" in refused(tmp_path / "a.dcm")
        assert "No such file" in refused(tmp_path / "b.dcm")


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


class TestEncodings:
    @pytest.mark.parametrize(
        "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless]
    )
    def test_one_image_in_many_syntaxes(
        self, make: Callable[..., Dataset], save: Writer, tmp_path: Path, stored: np.ndarray, syntax: str
    ) -> None:
        pixels = np.tile(stored[0], (6, 6))
        header = make(pixels)
        if syntax in (JPEG2000Lossless, RLELossless):
            save(header, tmp_path / "plain.dcm")
            header.compress(syntax, generate_instance_uid=False)
        assert np.array_equal(read_dicom(save(header, tmp_path / "a.dcm", syntax), "here").pixels[0], pixels)

    def test_big_endian(self, make: Callable[..., Dataset], save: Writer, tmp_path: Path, stored: np.ndarray) -> None:
        header = make(stored[0], PixelData=stored[0].astype(">i2").tobytes())
        volume = read_dicom(save(header, tmp_path / "a.dcm", ExplicitVRBigEndian), "here")
        assert np.array_equal(volume.pixels[0], stored[0])
        assert volume.pixels.dtype == np.int16

    @pytest.mark.parametrize("implicit", [True, False])
    def test_without_preamble_and_file_meta(
        self, make: Callable[..., Dataset], tmp_path: Path, stored: np.ndarray, implicit: bool
    ) -> None:
        path = tmp_path / "slice"
        dcmwrite(path, make(stored[0]), implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert is_dicom(path)
        assert is_dicom(tmp_path)
        assert np.array_equal(read_dicom(path, "here").pixels[0], stored[0])

    def test_jpeg(self, make: Callable[..., Dataset], save: Writer, tmp_path: Path) -> None:
        smooth = np.add.outer(np.arange(32), np.arange(40)).astype(np.uint8) * 3
        for name, cut, whole in (("a", None, True), ("b", -40, False)):
            header = make(smooth, Modality="CR")
            buffer = io.BytesIO()
            Image.fromarray(smooth).save(buffer, "JPEG", quality=98)
            header.PixelData = encapsulate([buffer.getvalue()[:cut]])
            header["PixelData"].is_undefined_length = True
            path = save(header, tmp_path / f"{name}.dcm", JPEGBaseline8Bit)
            if whole:
                assert np.abs(read_dicom(path, "here").pixels[0].astype(int) - smooth).max() <= 3
            else:
                assert "ends too early" in refused(path)

    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
    def test_frames_that_end_too_early_are_refused(
        self, make: Callable[..., Dataset], save: Writer, tmp_path: Path, syntax: str, kept: float
    ) -> None:
        from pydicom.encaps import generate_frames

        header = make(np.random.default_rng(0).integers(0, 4000, (32, 32)).astype(np.uint16))
        save(header, tmp_path / "plain.dcm")
        header.compress(syntax, generate_instance_uid=False)
        (frame,) = generate_frames(header.PixelData, number_of_frames=1)
        header.PixelData = encapsulate([frame[: int(kept * len(frame))]])
        refused(save(header, tmp_path / "a.dcm", syntax))
        if syntax == JPEG2000Lossless:
            header.PixelData = encapsulate([frame[: int(kept * len(frame))] + b"\xff\xd9"])
            refused(save(header, tmp_path / "b.dcm", syntax))

    def test_a_compressed_file_cut_anywhere_is_refused(
        self, make: Callable[..., Dataset], save: Writer, tmp_path: Path, stored: np.ndarray
    ) -> None:
        header = make(stored.astype(np.uint16)[0])
        save(header, tmp_path / "a.dcm")
        header.compress(RLELossless, generate_instance_uid=False)
        data = save(header, tmp_path / "a.dcm", RLELossless).read_bytes()
        for kept in range(200, len(data) - 20, 7):
            (tmp_path / "b.dcm").write_bytes(data[:kept])
            refused(tmp_path / "b.dcm")


class TestSilence:
    @pytest.mark.filterwarnings("ignore:Invalid value")
    def test_no_warning_reaches_the_terminal(
        self, write: Writer, stored: np.ndarray, capfd: pytest.CaptureFixture[str]
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
