"""What holds of every reader, whatever it is given: drawn files are read rightly, or refused in one short line."""

import json
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import psutil
import pytest
from hypothesis import strategies as st

from archimed.data.readers.any_image import read_image
from archimed.errors import ArchimedError
from tests.experiment.test_damaged_run import damaged
from tests.trust.coverage_fuzz import TEXTS, Read, reader_of, seeds_of
from tests.trust.drawn_dicom import dicom
from tests.trust.drawn_images import FORMATS, Drawn, damage

LONGEST_MESSAGE = 1500  # characters, those of the file's path aside
PIXEL_TYPES = (np.uint8, np.uint16, np.int16, np.float32)
MOST_PIXELS = 2**22  # of what a few hundred bytes may hold
Target = Callable[[st.DataObject, Path], bool]  # whether a drawn input, written into a folder, was read
FREE_BYTES = 2**26  # of the machine on which drawn files are read
Found = TypeVar("Found")


@contextmanager
def little_memory() -> Iterator[None]:
    """A machine on which 64 MiB are free; AssertionError if Python and NumPy held more than that meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=FREE_BYTES))
        tracemalloc.start()
        try:
            yield
            assert tracemalloc.get_traced_memory()[1] < FREE_BYTES, "more memory was taken than is free"
        finally:
            tracemalloc.stop()


def read_or_refuse(read: Callable[[], Found], path: Path) -> Found | None:
    """What was read; None if it was refused by an error of one line that is no longer than a line should be."""
    try:
        return read()
    except ArchimedError as error:
        message = str(error)
    assert message.isprintable(), message
    assert len(message) - len(str(path)) <= LONGEST_MESSAGE, message
    return None


def check_image(drawn: Drawn, folder: Path) -> bool:
    """Read a drawn image twice; whether it was read at all.

    Raises:
        AssertionError: what is whole was refused or read as something else, what is damaged was read as no image, or
            two readings differ.
    """
    path = folder / f"image{drawn.suffix}"
    path.write_bytes(drawn.content)
    with little_memory():
        found = read_or_refuse(lambda: read_image(path, "the test"), path)
    if found is None:
        assert drawn.pixels is None, "a whole file was refused"
        return False
    assert found.pixels.dtype in PIXEL_TYPES
    assert found.pixels.ndim in (3, 4)
    assert 0 < found.pixels.size <= MOST_PIXELS
    assert np.isfinite(found.pixels).all()
    assert found.affine is None or np.isfinite(found.affine).all()
    assert found.spacing is None or all(0 < step < np.inf for step in found.spacing)
    assert all(remark.isprintable() for remark in found.remarks)
    if drawn.pixels is not None:
        assert np.array_equal(np.sort(found.pixels.ravel()), np.sort(drawn.pixels.ravel()))
    again = read_image(path, "the test")
    assert np.array_equal(found.pixels, again.pixels)
    return True


IMAGES = {**FORMATS, "dicom": dicom}


def image_target(name: str) -> Target:
    """Drawn files of a format, half of those with odd headers damaged besides."""

    def holds(data: st.DataObject, folder: Path) -> bool:
        drawn = data.draw(IMAGES[name]())
        if drawn.pixels is None and data.draw(st.booleans()):
            drawn = Drawn(drawn.suffix, data.draw(damage(drawn.content)))
        return check_image(drawn, folder)

    return holds


@cache
def prepared(name: str, folder: Path) -> tuple[Read, list[bytes]]:
    """A reader of bytes with whole inputs."""
    place = folder / name
    place.mkdir()
    return reader_of(name, place), seeds_of(name, place)


@st.composite
def damaged_document(draw: st.DrawFn, content: bytes, start: int) -> bytes:
    """Bytes whose JSON, from a place on, has lost a value or has another in its place; other bytes anyhow."""
    with suppress(ValueError):
        value = json.loads(content[start:])
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        return content[:start] + json.dumps(damaged(value, rng)).encode()
    return draw(damage(content))


def byte_target(name: str) -> Target:
    """A source of cases, or a run one of whose files (the first byte says which) is damaged."""

    def holds(data: st.DataObject, folder: Path) -> bool:
        read, whole = prepared(name, folder)
        content, start = data.draw(st.sampled_from(whole)), int(name == "run")
        content = data.draw(damaged_document(content, start) if data.draw(st.booleans()) else damage(content))
        return read_or_refuse(lambda: (read(content), True), folder) is not None

    return holds


IMAGE_TARGETS: Mapping[str, Target] = {name: image_target(name) for name in IMAGES}
BYTE_TARGETS: Mapping[str, Target] = {name: byte_target(name) for name in (*TEXTS, "run")}
TARGETS: Mapping[str, Target] = {**IMAGE_TARGETS, **BYTE_TARGETS}
