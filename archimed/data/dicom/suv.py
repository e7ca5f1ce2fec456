"""PET activity to standardised uptake values by body weight (SUVbw), from the tags of a DICOM series.

The rules are those of the Quantitative Imaging Biomarkers Alliance's vendor-neutral pseudo-code for SUV: the dose is
decayed to the moment to which the pixels are decay-corrected, and SUVbw = activity per mL / dose x body weight in g.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import exp, log
from typing import TYPE_CHECKING

from archimed.data.dicom.header import RefusedError, code, dicom_errors, missing, number, text

if TYPE_CHECKING:
    from pydicom import Dataset

MIN_DOSE_BQ = 1e4  # less is a dose in MBq, where the standard wants Bq
MAX_HALF_LIVES = 15.0  # between injection and scan; more is a date changed by anonymisation
_WHAT = "A PET in SUV"
_REPAIR = "Repair the tag, or convert the PET to SUV beforehand."
_PHILIPS = "Philips PET Private Group"


def suv_factors(headers: Sequence["Dataset"]) -> list[float]:
    """For each file of a PET series: what its rescaled values are multiplied by to be SUVbw, in g/mL.

    Raises:
        RefusedError: naming the tag that is missing or impossible.
    """
    units = text(headers[0], "Units")
    if not units:
        raise missing("Units", _WHAT)
    if any(text(header, "Units") != units for header in headers):
        raise RefusedError("All slices of a PET must have the same Units", "has several", _REPAIR)
    if units == "GML":
        return [_in_grams(header) for header in headers]
    if units == "CNTS":
        philips = [_philips(header, 0x00) for header in headers]
        if all(philips):
            return [factor for factor in philips if factor]
        return [_to_activity(header) * factor for header, factor in zip(headers, _by_weight(headers), strict=True)]
    if units == "BQML":
        return _by_weight(headers)
    raise RefusedError("The tag Units of a PET must be BQML, CNTS or GML", f"has {code(headers[0], 'Units')}", _REPAIR)


def _in_grams(header: "Dataset") -> float:
    if (text(header, "SUVType") or "BW") != "BW":
        raise RefusedError("SUV must be by body weight (SUVType BW)", f"has {code(header, 'SUVType')}", _REPAIR)
    return 1.0


def _to_activity(header: "Dataset") -> float:
    factor = _philips(header, 0x09)
    if not factor:
        raise RefusedError(
            f"{_WHAT} of Units CNTS needs the Philips tag SUV Scale Factor (7053,1000) or Activity Concentration "
            "Scale Factor (7053,1009)",
            "lacks both",
            "Export it again with all tags.",
        )
    return factor


def _philips(header: "Dataset", element: int) -> float | None:
    """A factor of Philips's private group; None where it is absent or 0."""
    try:
        value = header.private_block(0x7053, _PHILIPS)[element].value
        factor = float(value.decode("ascii").strip(" \0") if isinstance(value, bytes) else value)
    except dicom_errors():
        return None
    return factor if 0 < factor < float("inf") else None


def _by_weight(headers: Sequence["Dataset"]) -> list[float]:
    """Factors from Bq/mL."""
    for header in headers:
        corrected = text(header, "CorrectedImage")
        if corrected and "ATTN" not in corrected:
            raise RefusedError(
                f"{_WHAT} must be corrected for attenuation (CorrectedImage ATTN)",
                "is not",
                "Use the attenuation-corrected series.",
            )
    moments = _acquisitions(headers) if any(_correction(header) != "ADMIN" for header in headers) else []
    return [_factor(header, moments) for header in headers]


def _factor(header: "Dataset", acquisitions: Sequence[datetime]) -> float:
    weight_g = 1000 * _positive(header, "PatientWeight")
    tracer = _radiopharmaceutical(header)
    dose = _positive(tracer, "RadionuclideTotalDose")
    if dose < MIN_DOSE_BQ:
        raise RefusedError("RadionuclideTotalDose must be in Bq", f"has less than {MIN_DOSE_BQ:g}", _REPAIR)
    correction = _correction(header)
    if correction == "ADMIN":
        return weight_g / dose
    half_life = _positive(tracer, "RadionuclideHalfLife")
    scan = _decay_reference(header, acquisitions, half_life) if correction == "START" else _middle(header, half_life)
    elapsed = (scan - _injection(tracer, scan)).total_seconds()
    if not 0 <= elapsed <= MAX_HALF_LIVES * half_life:
        raise RefusedError(
            f"A PET must be scanned after the injection and within {MAX_HALF_LIVES:g} half-lives",
            "is not, by RadiopharmaceuticalStartTime or -DateTime and its times of series and acquisition",
            _REPAIR,
        )
    return weight_g / (dose * 2 ** (-elapsed / half_life))


def _correction(header: "Dataset") -> str:
    correction = text(header, "DecayCorrection")
    if not correction:
        raise missing("DecayCorrection", _WHAT)
    if correction not in ("START", "ADMIN", "NONE"):
        raise RefusedError("DecayCorrection must be START, ADMIN or NONE", "has another", _REPAIR)
    return correction


def _radiopharmaceutical(header: "Dataset") -> "Dataset":
    items = header.get("RadiopharmaceuticalInformationSequence")
    if not items:
        raise missing("RadiopharmaceuticalInformationSequence", _WHAT)
    if len(items) > 1:
        raise RefusedError("A PET in SUV has one radiopharmaceutical", f"has {len(items)}", _REPAIR)
    return items[0]


def _positive(header: "Dataset", keyword: str) -> float:
    try:
        value = number(header, keyword)
    except RefusedError as refusal:
        raise (missing(keyword, _WHAT) if refusal.found == "lacks it" else refusal) from None
    if value <= 0:
        raise RefusedError(f"The tag {keyword} must be above 0", "has another value", _REPAIR)
    return value


def _acquisitions(headers: Sequence["Dataset"]) -> list[datetime]:
    return [_moment(header, "Acquisition") for header in headers]


def _moment(header: "Dataset", what: str) -> datetime:
    """Date and time of acquisition or series; an acquisition without a date has that of its series."""
    joined = text(header, "AcquisitionDateTime") if what == "Acquisition" else ""
    time, date = text(header, f"{what}Time"), text(header, f"{what}Date") or text(header, "SeriesDate")
    if not time and joined:
        return _parsed(joined, "AcquisitionDateTime")
    if not time or not date:
        raise missing(f"{what}Date" if time else f"{what}Time", _WHAT)
    return _parsed(date + time, f"{what}Date and {what}Time")


def _parsed(value: str, keyword: str) -> datetime:
    """A DICOM date and time, YYYYMMDDHHMMSS.FFFFFF with any tail of it left out after the hour; zones are dropped."""
    digits = re.split("[+-]", value.replace(":", ""))[0].strip()
    main, _, fraction = digits.partition(".")
    try:
        whole = datetime.strptime(main[:14].ljust(14, "0"), "%Y%m%d%H%M%S") if len(main) >= 10 else None
        if whole is not None:
            return whole + timedelta(seconds=float(f"0.{fraction or 0}"))
    except dicom_errors():
        pass
    raise RefusedError(f"The tag {keyword} must be a date and time", "holds none", _REPAIR)


def _injection(tracer: "Dataset", scan: datetime) -> datetime:
    """When the dose was given; a time without a date is the last such time before the scan."""
    joined = text(tracer, "RadiopharmaceuticalStartDateTime")
    if joined:
        return _parsed(joined, "RadiopharmaceuticalStartDateTime")
    time = text(tracer, "RadiopharmaceuticalStartTime")
    if not time:
        raise missing("RadiopharmaceuticalStartTime or RadiopharmaceuticalStartDateTime", _WHAT)
    given = _parsed(f"{scan:%Y%m%d}{time}", "RadiopharmaceuticalStartTime")
    return given if given <= scan else given - timedelta(days=1)


def _decay_reference(header: "Dataset", acquisitions: Sequence[datetime], half_life: float) -> datetime:
    """The moment to which DecayCorrection START refers.

    The start of the series, unless that is later than the first acquisition: then the series was written anew, and
    the moment is counted back from the frame (its average count rate lies FrameReferenceTime after it), else it is
    the first acquisition.
    """
    if text(header, "SeriesTime") and text(header, "SeriesDate"):
        series = _moment(header, "Series")
        if series <= min(acquisitions):
            return series
    offset = number(header, "FrameReferenceTime", 0) / 1000
    if offset > 0 and number(header, "ActualFrameDuration", 0) > 0:
        return _middle(header, half_life) - timedelta(seconds=offset)
    return min(acquisitions)


def _middle(header: "Dataset", half_life: float) -> datetime:
    """When a frame's count rate was its average: 1/k ln(kT / (1 - exp(-kT))) after its start."""
    start = _moment(header, "Acquisition")
    duration = number(header, "ActualFrameDuration", 0) / 1000
    constant = log(2) / half_life
    decayed = constant * duration
    if decayed <= 1e-9:
        return start
    return start + timedelta(seconds=log(decayed / (1 - exp(-decayed))) / constant)
