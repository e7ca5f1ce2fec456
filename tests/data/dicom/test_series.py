from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from archimed.data.dicom.reader import read_dicom

Writer = Callable[..., Path]
Refused = Callable[[Path], str]
ANGLE = np.deg2rad(20)
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "oblique": (np.cos(ANGLE), np.sin(ANGLE), 0, 0, 0, -1),
}


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
    def test_a_gap_is_refused(
        self, refused: Refused, write_series: Writer, stored: np.ndarray, left_out: int, found: str
    ) -> None:
        heights = [3 * index for index in range(6) if index != left_out]
        message = refused(write_series(stored, ImagePositionPatient=[[0, 0, z] for z in heights]))
        assert f"step of {found} where 3 mm" in message

    def test_steps_that_drift_are_refused(self, refused: Refused, write_series: Writer, stored: np.ndarray) -> None:
        assert "a step of" in refused(
            write_series(stored, ImagePositionPatient=[[0, 0, z] for z in (0, 3, 6, 9.5, 13)])
        )

    def test_a_bent_stack_is_refused(self, refused: Refused, write_series: Writer, stored: np.ndarray) -> None:
        positions = [[5 * (index == 2), 0, 3 * index] for index in range(5)]
        assert "straight line" in refused(write_series(stored, ImagePositionPatient=positions))

    def test_slices_at_one_position_are_refused(
        self, refused: Refused, write_series: Writer, stored: np.ndarray
    ) -> None:
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
        self, refused: Refused, write_series: Writer, stored: np.ndarray, tags: dict[str, object], found: str
    ) -> None:
        assert found in refused(write_series(stored, **tags))

    def test_slices_of_two_sizes_are_refused(
        self, refused: Refused, write_series: Writer, write: Writer, stored: np.ndarray
    ) -> None:
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

    def test_a_damaged_slice_is_named(self, refused: Refused, write_series: Writer, stored: np.ndarray) -> None:
        folder = write_series(stored)
        (folder / "002.dcm").write_bytes((folder / "002.dcm").read_bytes()[:-20])
        assert "002.dcm" in refused(folder)

    def test_a_folder_without_images_is_refused(self, refused: Refused, tmp_path: Path) -> None:
        (tmp_path / "inner").mkdir()
        assert "holds none" in refused(tmp_path)

    def test_several_radiographs_are_no_volume(
        self, write_series: Writer, stored: np.ndarray, refused: Refused
    ) -> None:
        folder = write_series(stored, Modality="CR", ImagePositionPatient=[None] * 5)
        assert "Name one file as the image" in refused(folder)
