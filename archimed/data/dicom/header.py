"""One DICOM file's header: reading it in silence, its values checked, and what to say when they cannot be used."""

import logging
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archimed.data.readers.bounded import BoundedFile
from archimed.data.readers.decoding import DECODER_ERRORS
from archimed.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom")
PREAMBLE_BYTES = 128
MAX_INFLATED_BYTES = 2**32  # of a deflated file: more is taken for a decompression bomb
REPAIR = "Repair or replace the file."
REPLACE = "Replace the file or leave it out."
_LIBRARY_LOGGERS = (
    "pydicom",
    "pydicom.pixels.decoders.base",
    "pydicom.pixels.utils",
    "openjpeg.decode",
    "openjpeg.utils",
)


def dicom_errors() -> tuple[type[Exception], ...]:
    """What pydicom and the decoders raise on damaged files."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*DECODER_ERRORS, AssertionError, BytesLengthException, InvalidDicomError)


class RefusedError(ValueError):
    """Why DICOM files cannot be used: a rule, what was found and the next step, told without any text of the file."""

    def __init__(self, rule: str, found: str, step: str) -> None:
        super().__init__(found)
        self.rule, self.found, self.step = rule, found, step


@contextmanager
def told_of(origin: str, path: Path) -> Iterator[None]:
    """Every way in which a file can be damaged as one DataError that names `origin` and `path`.

    Texts of libraries are left out, since they may quote the patient.
    """
    try:
        yield
    except RefusedError as refusal:
        raise DataError(f"{refusal.rule}; {origin}, {path}, {refusal.found}. {refusal.step}") from None
    except OSError as error:
        reason = error.strerror or "damaged DICOM"
        raise DataError(_unreadable(origin, path, reason)) from None
    except dicom_errors() as error:
        raise DataError(_unreadable(origin, path, f"damaged DICOM: {type(error).__name__}")) from None


def _unreadable(origin: str, path: Path, reason: str) -> str:
    return f"Every image must be readable; {origin}, {path}, is not ({reason}). Replace it or leave it out."


class _Silence(logging.Filter):
    """Drops what the present thread logs."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self.owner


class _NoWarnings:
    """Python's warnings, which all threads share: the first to enter turns them off, the last to leave on again."""

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.kept = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.kept = warnings.catch_warnings()
                self.kept.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.kept.__exit__(None, None, None)


_no_warnings = _NoWarnings()


@contextmanager
def quiet() -> Iterator[None]:
    """No warning of pydicom, numpy, GDCM or OpenJPEG reaches the terminal."""
    import gdcm

    silence = _Silence()
    loggers = [logging.getLogger(name) for name in _LIBRARY_LOGGERS]
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    for logger in loggers:
        logger.addFilter(silence)
    try:
        with _no_warnings, np.errstate(all="ignore"):
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(silence)


def has_dicom_contents(path: Path) -> bool:
    """Whether a file begins as DICOM does: `DICM` after a preamble, or, without one, a tag of group 2 or 8."""
    with path.open("rb") as file:
        head = file.read(PREAMBLE_BYTES + 4)
    if head[PREAMBLE_BYTES:] == b"DICM":
        return True
    if len(head) < 16 or head[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08") or head[:4] == b"\x02\x00\x02\x00":
        return False
    explicit = re.fullmatch(rb"[A-Z]{2}", head[4:6]) is not None
    return explicit or int.from_bytes(head[4:8], "little") <= 256


def read_header(path: Path, *, pixels: bool) -> "Dataset":
    """The data set of one DICOM file, with its pixel data only where asked for; one of the `dicom_errors` otherwise."""
    from pydicom import dcmread
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if not has_dicom_contents(path):
        raise RefusedError("A DICOM file begins with DICM after 128 bytes, or with tags", "does not", REPLACE)
    _check_inflated_size(path, DeflatedExplicitVRLittleEndian)
    with BoundedFile(path) as file:
        return dcmread(file, force=True, stop_before_pixels=not pixels)


def _check_inflated_size(path: Path, deflated: str) -> None:
    """ValueError if a deflated file would fill the memory or is cut off."""
    from psutil import virtual_memory
    from pydicom.filereader import _read_file_meta_info as read_meta
    from pydicom.filereader import read_preamble

    with BoundedFile(path) as file:
        read_preamble(file, force=True)
        if read_meta(file).get("TransferSyntaxUID") != deflated:
            return
        inflater, total, most = zlib.decompressobj(-zlib.MAX_WBITS), 0, virtual_memory().available // 2
        while not inflater.eof and (piece := file.read(2**16)):
            while piece and not inflater.eof:
                total += len(inflater.decompress(piece, 2**20))
                piece = inflater.unconsumed_tail
                if total > min(most, MAX_INFLATED_BYTES):
                    raise ValueError("too large")
    if not inflater.eof:
        raise ValueError("cut off")


def text(header: "Dataset", keyword: str) -> str:
    """A value as text; empty where the file does not tell."""
    value = header.get(keyword)
    return "" if value is None else str(value).strip(" \0")


def code(header: "Dataset", keyword: str) -> str:
    """A value that is a code of the standard, such as CT, fit for messages; `unknown` where it is none."""
    value = text(header, keyword)
    return value if re.fullmatch(r"[A-Z0-9_ ]{2,16}", value) else "unknown"


def numbers(header: "Dataset", keyword: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers; None where the file does not tell; RefusedError, naming the tag, if they are none."""
    try:
        value = header.get(keyword)
        if value is None or (isinstance(value, str | bytes) and not value.strip()):
            return None
        several = isinstance(value, list | tuple) or (hasattr(value, "__iter__") and not isinstance(value, str))
        found = tuple(float(part) for part in (value if several else (value,)))
    except dicom_errors():
        found = ()
    if len(found) != count or not all(np.isfinite(found)):
        what = "a finite number" if count == 1 else f"{count} finite numbers"
        raise RefusedError(f"The DICOM tag {keyword} must be {what}", "holds none", REPAIR)
    return found


def number(header: "Dataset", keyword: str, default: float | None = None) -> float:
    """One finite number; `default` or, without one, a RefusedError naming the tag where the file does not tell."""
    found = numbers(header, keyword, 1)
    if found is not None:
        return found[0]
    if default is None:
        raise missing(keyword)
    return default


def whole(header: "Dataset", keyword: str, default: int | None = None) -> int:
    """As `number`, but a whole one."""
    value = number(header, keyword, default)
    if value != int(value):
        raise RefusedError(f"The DICOM tag {keyword} must be a whole number", "holds none", REPAIR)
    return int(value)


def missing(keyword: str, what: str = "An image") -> RefusedError:
    """The RefusedError of a file that lacks a tag."""
    return RefusedError(f"{what} needs the DICOM tag {keyword}", "lacks it", "Export it again with all tags.")


def functional_group(header: "Dataset", frame: int, sequence: str) -> "Dataset | None":
    """What a multi-frame file tells of one frame in one functional group: its own, else the one shared by all."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = header.get(groups)
        if items and index < len(items) and items[index].get(sequence):
            return items[index][sequence][0]
    return None
