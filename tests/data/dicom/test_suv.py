from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from archimed.data.dicom.reader import read_dicom
from archimed.data.dicom.suv import suv_factors
from archimed.errors import DataError

WEIGHT_KG, DOSE_BQ, HALF_LIFE_S = 70.0, 3.5e8, 6586.2  # fluorine-18
K = np.log(2) / HALF_LIFE_S


def pet(**tags: object) -> Dataset:
    """A PET slice scanned an hour after the injection; a tag of None is left out."""
    tracer, header = Dataset(), Dataset()
    given: dict[str, object] = {
        "Modality": "PT",
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "PatientWeight": WEIGHT_KG,
        "SeriesDate": "20200305",
        "SeriesTime": "110000",
        "AcquisitionDate": "20200305",
        "AcquisitionTime": "111500.00",
        "RadiopharmaceuticalStartTime": "100000.00",
        "RadionuclideTotalDose": DOSE_BQ,
        "RadionuclideHalfLife": HALF_LIFE_S,
    } | tags
    for keyword, value in given.items():
        if value is not None:
            setattr(tracer if keyword.startswith("Radio") else header, keyword, value)
    header.RadiopharmaceuticalInformationSequence = [tracer]
    return header


def factor(seconds: float) -> float:
    """Body weight in g by the dose that is left after `seconds`."""
    return 1000 * WEIGHT_KG / (DOSE_BQ * np.exp(-K * seconds))


def middle(seconds: float) -> float:
    """When a count rate that decays equals its mean over `seconds`, by bisection of the mean of exp(-k t)."""
    mean = np.exp(-K * (np.arange(100_000) + 0.5) / 100_000 * seconds).mean()
    low, high = 0.0, seconds
    for _ in range(60):
        low, high = ((low + high) / 2, high) if np.exp(-K * (low + high) / 2) > mean else (low, (low + high) / 2)
    return low


@pytest.mark.parametrize(
    ("tags", "seconds"),
    [
        ({}, 3600),
        ({"DecayCorrection": "ADMIN"}, 0),
        ({"DecayCorrection": "ADMIN", "RadiopharmaceuticalStartTime": None, "SeriesTime": None}, 0),
        ({"DecayCorrection": "NONE"}, 4500),
        ({"DecayCorrection": "NONE", "ActualFrameDuration": 600_000}, 4500 + middle(600)),
        ({"SeriesTime": "110000.5", "RadiopharmaceuticalStartTime": "1000"}, 3600.5),
        ({"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": "20200305093000"}, 5400),
        ({"RadiopharmaceuticalStartDateTime": "20200305093000.00+0100"}, 5400),
        # the injection was before midnight
        ({"SeriesTime": "003000", "RadiopharmaceuticalStartTime": "233000", "AcquisitionTime": "003000"}, 3600),
        # a series written anew after its acquisition
        ({"SeriesTime": "180000"}, 4500),
        ({"SeriesTime": None}, 4500),
        ({"SeriesDate": "20210101", "SeriesTime": "010000"}, 4500),
        (
            {"SeriesTime": "180000", "FrameReferenceTime": 500_000, "ActualFrameDuration": 300_000},
            4500 + middle(300) - 500,
        ),
        ({"AcquisitionDate": None}, 3600),
        ({"AcquisitionDate": None, "AcquisitionTime": None, "AcquisitionDateTime": "20200305111500"}, 3600),
    ],
)
def test_activity_by_the_dose_left_at_the_moment_of_correction(tags: dict[str, object], seconds: float) -> None:
    assert suv_factors([pet(**tags)]) == pytest.approx([factor(seconds)], rel=1e-6)


def test_the_first_bed_position_decides_for_a_series_written_anew() -> None:
    headers = [pet(SeriesTime="180000", AcquisitionTime=time) for time in ("113000", "111000", "112000")]
    assert suv_factors(headers) == pytest.approx([factor(4200)] * 3)


def test_what_is_in_suv_already() -> None:
    bare = pet(Units="GML", PatientWeight=None, DecayCorrection=None, RadionuclideTotalDose=None)
    assert suv_factors([bare]) == [1.0]


def test_counts_of_philips() -> None:
    header = pet(Units="CNTS")
    block = header.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x09, "DS", "2.5")
    assert suv_factors([header]) == pytest.approx([2.5 * factor(3600)])
    block.add_new(0x00, "DS", "0.00125")
    assert suv_factors([header]) == [0.00125]


REFUSED = [
    ({"Units": None}, "needs the DICOM tag Units"),
    ({"Units": "PROPCNT"}, "BQML, CNTS or GML"),
    ({"Units": "CNTS"}, "SUV Scale Factor (7053,1000)"),
    ({"Units": "GML", "SUVType": "LBM"}, "has LBM"),
    ({"PatientWeight": None}, "needs the DICOM tag PatientWeight"),
    ({"PatientWeight": 0}, "PatientWeight must be above 0"),
    ({"DecayCorrection": None}, "needs the DICOM tag DecayCorrection"),
    ({"DecayCorrection": "SOON"}, "START, ADMIN or NONE"),
    ({"RadionuclideTotalDose": None}, "needs the DICOM tag RadionuclideTotalDose"),
    ({"RadionuclideTotalDose": 350}, "RadionuclideTotalDose must be in Bq"),
    ({"RadionuclideHalfLife": None}, "needs the DICOM tag RadionuclideHalfLife"),
    ({"RadiopharmaceuticalStartTime": None}, "RadiopharmaceuticalStartTime or RadiopharmaceuticalStartDateTime"),
    ({"RadiopharmaceuticalStartDateTime": "20180305100000"}, "half-lives"),
    ({"RadiopharmaceuticalStartDateTime": "20200305120000"}, "after the injection"),
    ({"AcquisitionTime": None}, "needs the DICOM tag AcquisitionTime"),
    ({"AcquisitionTime": "soon"}, "must be a date and time"),
    ({"CorrectedImage": ["DECY", "SCAT"]}, "ATTN"),
]


@pytest.mark.parametrize(("tags", "found"), REFUSED)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_missing_or_impossible_tag_is_named(write: Callable[..., Path], tags: dict[str, object], found: str) -> None:
    header = {element.keyword: element.value for element in pet(**tags)}
    path = write("a.dcm", np.ones((3, 4), np.uint16), **header)
    with pytest.raises(DataError) as caught:
        read_dicom(path, "line 2 of cases.csv")
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_series_in_suv(write_series: Callable[..., Path], stored: np.ndarray) -> None:
    header = {element.keyword: element.value for element in pet()} | {"CorrectedImage": "ATTN"}
    slopes = [1.0, 2.0, 3.0, 4.0, 5.0]
    volume = read_dicom(write_series(abs(stored), RescaleSlope=slopes, **header), "here")
    assert (volume.kind, volume.pixels.dtype) == ("pet", np.float32)
    expected = abs(stored) * np.array(slopes)[:, None, None] * factor(3600)
    np.testing.assert_allclose(volume.pixels[0], expected, rtol=1e-6)
