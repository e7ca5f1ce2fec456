from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom.data import get_testdata_file

from archimed.data.dicom.masks import read_dicom_mask
from archimed.data.dicom.reader import is_dicom, read_dicom
from archimed.data.volume import Volume
from archimed.errors import DataError

pytestmark = pytest.mark.data

COLOUR, GREY = (3, 100, 100), (1, 128, 128)
FRAMES = "frames without (a cine or time series)"
# what each odd file is: shape, number type and kind of an image, or what the one line that refuses it says
ODD_FILES: dict[str, tuple[tuple[int, ...], str, str] | str] = {
    "693_J2KR.dcm": ((1, 512, 512), "int16", "ct"),
    "JLSL_08_07_0_1F.dcm": "must be decodable",
    "JLSL_16_15_1_1F.dcm": (GREY, "int16", "other"),
    "JLSL_RGB_ILV0.dcm": ((3, 256, 256), "uint8", "other"),
    "JLSL_RGB_ILV1.dcm": ((3, 256, 256), "uint8", "other"),
    "JLSL_RGB_ILV2.dcm": ((3, 256, 256), "uint8", "other"),
    "JLSN_RGB_ILV0.dcm": ((3, 256, 256), "uint8", "other"),
    "JPEG-LL.dcm": ((1, 1024, 256), "int16", "other"),
    "MR2_J2KI.dcm": ((1, 1024, 1024), "float32", "mr"),
    "OBXXXX1A_rle.dcm": ((3, 600, 800), "uint8", "other"),
    "OBXXXX1A_rle_2frame.dcm": FRAMES,
    "SC_rgb.dcm": (COLOUR, "uint8", "other"),
    "SC_rgb_16bit.dcm": (COLOUR, "uint16", "other"),
    "SC_rgb_16bit_2frame.dcm": FRAMES,
    "SC_rgb_2frame.dcm": FRAMES,
    "SC_rgb_32bit.dcm": (COLOUR, "float32", "other"),
    "SC_rgb_dcmtk_ebcr_dcmd.dcm": (COLOUR, "uint8", "other"),
    "SC_rgb_dcmtk_ebcyn1_dcmd.dcm": (COLOUR, "uint8", "other"),
    "SC_rgb_dcmtk_ebcyn2_dcmd.dcm": (COLOUR, "uint8", "other"),
    "SC_rgb_dcmtk_ebcynp_dcmd.dcm": (COLOUR, "uint8", "other"),
    "SC_rgb_dcmtk_ebcys2_dcmd.dcm": (COLOUR, "uint8", "other"),
    "SC_rgb_dcmtk_ebcys4_dcmd.dcm": (COLOUR, "uint8", "other"),
    "SC_rgb_expb.dcm": (COLOUR, "uint8", "other"),
    "SC_rgb_expb_16bit.dcm": (COLOUR, "uint16", "other"),
    "SC_rgb_expb_16bit_2frame.dcm": FRAMES,
    "SC_rgb_expb_2frame.dcm": FRAMES,
    "SC_rgb_expb_32bit.dcm": (COLOUR, "float32", "other"),
    "SC_rgb_gdcm2k_uncompressed.dcm": (COLOUR, "uint8", "other"),
    "SC_ybr_full_uncompressed.dcm": (COLOUR, "uint8", "other"),
    "US1_J2KI.dcm": ((3, 480, 640), "uint8", "other"),
    "color-pl.dcm": ((3, 120, 256), "uint8", "other"),
    "color-px.dcm": ((3, 120, 256), "uint8", "other"),
    "emri_small.dcm": FRAMES,
    "emri_small_RLE.dcm": FRAMES,
    "emri_small_big_endian.dcm": FRAMES,
    "emri_small_jpeg_2k_lossless.dcm": FRAMES,
    "emri_small_jpeg_2k_lossless_too_short.dcm": "holds none (cut off?)",
    "emri_small_jpeg_ls_lossless.dcm": FRAMES,
    "liver.dcm": "(SEG)",
    "liver_deflate.dcm": "(SEG)",
    "liver_expb.dcm": "(SEG)",
    "liver_j2k.dcm": "(SEG)",
    "liver_nonbyte_aligned.dcm": "(SEG)",
    "liver_nonbyte_aligned_deflate.dcm": "(SEG)",
    "liver_nonbyte_aligned_j2k.dcm": "(SEG)",
    "liver_nonbyte_aligned_rle.dcm": "(SEG)",
    "liver_rle.dcm": "(SEG)",
    "parametric_map_double_float.dcm": (GREY, "float32", "other"),
    "parametric_map_float.dcm": (GREY, "float32", "other"),
}


@pytest.fixture(scope="session")
def patient(real_data: Path) -> Path:
    return real_data / "dicom" / "sts_petct" / "STS_025"


def test_no_odd_file_is_left_out(real_data: Path) -> None:
    assert sorted(path.name for path in (real_data / "dicom" / "pydicom_data").iterdir()) == sorted(ODD_FILES)


@pytest.mark.parametrize("name", ODD_FILES)
def test_odd_files_load_as_simpleitk_reads_them_or_are_refused_in_one_line(
    real_data: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path, expected = real_data / "dicom" / "pydicom_data" / name, ODD_FILES[name]
    assert is_dicom(path)
    if isinstance(expected, str):
        with pytest.raises(DataError) as caught:
            read_dicom(path, "here")
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
    else:
        volume = read_dicom(path, "here")
        assert (volume.pixels.shape, volume.pixels.dtype.name, volume.kind) == expected
        if not name.startswith("parametric_map"):  # which SimpleITK does not read
            oracle = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).reshape(*expected[0][1:], -1)
            np.testing.assert_allclose(volume.pixels, np.moveaxis(oracle, -1, 0), rtol=1e-6, atol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_lossy_jpeg_of_12_bits_is_near_the_lossless_one(real_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lossy = get_testdata_file("JPEG-lossy.dcm", download=False)
    assert isinstance(lossy, str)
    found = read_dicom(Path(lossy), "here").pixels[0].astype(float)
    expected = read_dicom(real_data / "dicom" / "pydicom_data" / "JPEG-LL.dcm", "here").pixels[0]
    means = [pixels.reshape(128, 8, 32, 8).mean((1, 3)) for pixels in (found, expected)]  # of the coded blocks
    assert np.abs(means[0] - means[1]).max() < 2.5  # counts; the table quantises a block's mean to 19 / 8
    assert capfd.readouterr() == ("", "")


def test_one_segmentation_in_nine_encodings(real_data: Path) -> None:
    folder = real_data / "dicom" / "pydicom_data"
    affine = np.array([[0, 0, -0.810547, 235.2], [0, -0.810547, 0, 226.8], [1, 0, 0, -128.69], [0, 0, 0, 1]])
    grid = Volume(np.zeros((1, 3, 512, 512), np.uint8), affine)
    masks = [read_dicom_mask(path, "here", grid, "Liver") for path in sorted(folder.glob("liver*.dcm"))]
    assert len(masks) == 9
    assert all(mask.sum() == 107_098 for mask in masks)
    whole = [
        mask for path, mask in zip(sorted(folder.glob("liver*.dcm")), masks, strict=True) if "non" not in path.name
    ]
    assert len(whole) == 5
    assert all(np.array_equal(mask, whole[0]) for mask in whole)


@pytest.mark.parametrize(
    ("modality", "shape", "spacing", "dtype", "kind"),
    [
        ("CT", (47, 138, 149), (3.27, 0.976562, 0.976562), "int16", "ct"),
        ("PET", (47, 34, 37), (3.27, 3.90625, 3.90625), "float32", "pet"),
        ("MR_T1", (25, 55, 75), (3.26996, 0.976562, 0.976562), "int16", "mr"),
    ],
)
def test_series_lie_where_simpleitk_puts_them(
    patient: Path, modality: str, shape: tuple[int, ...], spacing: tuple[float, ...], dtype: str, kind: str
) -> None:
    folder = patient / modality / "image"
    volume = read_dicom(folder, "here")
    assert volume.affine is not None
    assert (volume.pixels.shape, volume.pixels.dtype.name, volume.kind) == ((1, *shape), dtype, kind)
    assert volume.spacing == pytest.approx(spacing)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_allclose(volume.pixels[0], SimpleITK.GetArrayFromImage(image), rtol=1e-6)
    last = tuple(size - 1 for size in shape)
    for corner in ((0, 0, 0), last):
        x, y, z = image.TransformIndexToPhysicalPoint(corner[::-1])
        np.testing.assert_allclose(volume.affine @ [*corner, 1], [-x, -y, z, 1], atol=1e-3)


def test_geometry_and_values_follow_the_nifti_files_of_other_patients(patient: Path, real_data: Path) -> None:
    import nibabel

    for modality, pattern in (("CT", "CT_image.nii.gz"), ("PET", "PET_image.nii.gz")):
        volume = read_dicom(patient / modality / "image", "here")
        assert volume.affine is not None
        others = [nibabel.load(path) for path in sorted((real_data / "petct" / "sts").glob(f"*/{pattern}"))]
        assert len(others) >= 10
        for other in others:  # width, height, depth; x and y run to the right and the front, z to the head
            assert (np.sign(np.diag(other.affine)[:3]) == np.sign([-1, -1, 1])).all()
        in_their_order = volume.affine[:3, [2, 1, 0]]
        assert np.array_equal(np.sign(np.diag(in_their_order)), [-1, -1, 1])
        np.testing.assert_allclose(in_their_order, np.diag(np.diag(in_their_order)), atol=1e-3)
        tops = [float(np.asarray(other.dataobj).max()) for other in others]
        assert min(tops) / 3 < volume.pixels.max() < max(tops) * 3


@pytest.mark.parametrize("modality", ["CT", "PET", "MR_T1"])
def test_the_tumour_lies_on_every_grid(patient: Path, modality: str) -> None:
    volume = read_dicom(patient / modality / "image", "here")
    assert volume.affine is not None
    mask = read_dicom_mask(patient / modality / "mask", "here", volume, None)
    assert mask.any((1, 2)).sum() == 15
    millilitres = mask.sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1000
    assert millilitres == pytest.approx(30.09, abs=0.2)  # shoelace area of the contours x 3.27 mm
    if modality == "PET":
        assert volume.pixels[0][mask > 0].mean() > 5 * volume.pixels[0][mask == 0].mean()


def test_a_chest_ct_in_shuffled_files(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "dicom" / "ct_chest_32"
    volume = read_dicom(folder, "here")
    assert volume.pixels.shape == (1, 32, 512, 512)
    assert volume.spacing == (3, 0.564453, 0.564453)
    assert (volume.pixels.min(), volume.pixels.max()) == (-1024, 3071)
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "000056.dcm").unlink()
    with pytest.raises(DataError, match="a step of 6 mm where 3 mm are expected"):
        read_dicom(tmp_path, "here")


def test_modalities_of_one_patient_in_one_folder_are_refused(patient: Path, tmp_path: Path) -> None:
    for path in (*(patient / "CT" / "image").iterdir(), *(patient / "PET" / "image").iterdir()):
        (tmp_path / f"{path.parent.parent.name}{path.name}").symlink_to(path)
    with pytest.raises(DataError, match=r"holds 2 \(1 CT, 1 PT\)"):
        read_dicom(tmp_path, "here")
