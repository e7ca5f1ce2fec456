"""Arrays in memory and in a file are the same to whoever reads them."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from archimed.data.arrays import PART, Arrays
from archimed.data.preparation.flat_file import FlatFile
from archimed.errors import DataError

TYPES = (torch.uint8, torch.uint16, torch.int16, torch.float32)
SAME, SEVERAL = [(2, 3, 4)] * 9, [(1, 3, 4), (1, 5, 2), (1, 1, 7), (1, 3, 4)]
Make = Callable[..., tuple[list[Tensor], Arrays]]


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Random arrays of some shapes: as a list of tensors, and as Arrays."""

    def made(shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.uint8) -> tuple[list[Tensor], Arrays]:
        rng = np.random.default_rng(0)
        plain = [torch.from_numpy(rng.integers(0, 250, shape).astype("i4")).to(dtype) for shape in shapes]
        if request.param == "memory":
            return plain, Arrays.of(plain)
        path = tmp_path / "flat.bin"
        path.write_bytes(b"".join(array.numpy().tobytes() for array in plain))
        return plain, Arrays.end_to_end(FlatFile(path, dtype), shapes)

    return made


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [[], [3], [0, 1, 2], [8, 0, 0, 5, 6, 7, 2], [-1, -9]])
def test_some_rows_stacked(make: Make, dtype: torch.dtype, rows: list[int]) -> None:
    plain, arrays = make(SAME, dtype)
    expected = torch.stack([plain[row] for row in rows]) if rows else torch.empty(0, 2, 3, 4, dtype=dtype)
    for form in (rows, np.array(rows, int), torch.tensor(rows, dtype=torch.int64)):
        found = arrays.take(form)
        assert torch.equal(found, expected)
        assert found.dtype == dtype
    assert arrays.shape == (2, 3, 4)


def test_what_is_taken_is_a_copy(make: Make) -> None:
    plain, arrays = make(SAME)
    for rows in ([2], [2, 3]):
        arrays.take(rows).fill_(251)
    assert torch.equal(arrays.all(), torch.stack(plain))


def test_arrays_of_several_shapes(make: Make) -> None:
    plain, arrays = make(SEVERAL, torch.int16)
    assert len(arrays) == 4
    assert arrays.shape is None
    assert all(torch.equal(a, b) for a, b in zip(arrays, plain, strict=True))
    assert arrays.nbytes == 2 * sum(array.numel() for array in plain)
    with pytest.raises(DataError, match="1x1x7 and 1x3x4"):
        arrays.take([0, 1])
    chosen = arrays.select([3, 0])
    assert chosen.shape == (1, 3, 4)
    assert torch.equal(chosen.take([0, 1]), torch.stack([plain[3], plain[0]]))
    assert [part.shape for part in arrays.parts(3)] == [(1, *shape) for shape in SEVERAL]


def test_selections_of_selections(make: Make) -> None:
    plain, arrays = make(SAME)
    chosen = arrays.select([8, 4, 4, 1]).select([0, 2, 3])
    assert torch.equal(chosen.all(), torch.stack([plain[8], plain[4], plain[1]]))
    assert torch.equal(chosen[1], plain[4])


def test_parts_are_small_and_make_up_the_whole(make: Make) -> None:
    plain, arrays = make([(1, 1024, 1024)] * 6)
    parts = list(arrays.parts(256))
    assert [len(part) for part in parts] == [4, 2]
    assert parts[0].numel() == PART
    assert torch.equal(torch.cat(parts), torch.stack(plain))
    assert [len(part) for part in make(SAME)[1].parts(4)] == [4, 4, 1]


def test_values_are_replaced_on_reading(make: Make) -> None:
    plain, arrays = make(SEVERAL)
    twice = bytes(min(2 * value, 255) for value in range(256))
    plus_one = bytes(min(value + 1, 255) for value in range(256))
    changed = arrays.recoded(twice).recoded(plus_one)
    for found, array in zip(changed, plain, strict=True):
        assert torch.equal(found, (2 * array.int() + 1).clamp(max=255).to(torch.uint8))
    same = changed.select([3, 0])
    expected = torch.stack([changed[3], changed[0]])
    assert torch.equal(same.take([0, 1]), expected)
    assert torch.equal(same.all(), expected)
    assert torch.equal(arrays[0], plain[0])
    assert not expected.fill_(0).any()


def test_arrays_without_elements(make: Make) -> None:
    _, arrays = make([(0, 4), (0, 4)])
    assert arrays.take([1, 0]).shape == (2, 0, 4)
    assert len(Arrays.of([])) == 0


def test_a_stacked_tensor_is_shared_and_handed_back_as_it_is() -> None:
    images = torch.arange(24.0).view(4, 1, 2, 3)
    assert Arrays.of(images).all().data_ptr() == images.data_ptr()
    assert torch.equal(Arrays.of(images.mT).take([1, 0]), images.mT[[1, 0]])


def test_arrays_in_a_file_are_pickled_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "flat.bin").write_bytes(bytes(range(250)) * 1000)
    arrays = Arrays.end_to_end(FlatFile(tmp_path / "flat.bin", torch.uint8), [(250, 100)] * 10)
    pickled = pickle.dumps(arrays)
    assert len(pickled) < 5000
    assert torch.equal(pickle.loads(pickled)[7], arrays[7])  # noqa: S301


def test_a_file_that_ends_too_early_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "flat.bin"
    path.write_bytes(bytes(100))
    arrays = Arrays.end_to_end(FlatFile(path, torch.uint8), [(10,)] * 10)
    path.write_bytes(bytes(95))
    assert not arrays[8].any()
    with pytest.raises(DataError, match="archimed data cache --clear"):
        arrays.take([1, 9])


def test_a_file_that_was_deleted_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "flat.bin"
    path.write_bytes(bytes(range(100)))
    arrays = Arrays.end_to_end(FlatFile(path, torch.uint8), [(10,)] * 10)
    path.unlink()
    assert arrays[9].tolist() == list(range(90, 100))


BOUNDED = """
import sys, resource
from pathlib import Path
import torch
from archimed.data.arrays import Arrays
from archimed.data.preparation.flat_file import FlatFile
arrays = Arrays.end_to_end(FlatFile(Path(sys.argv[1]), torch.float32), [(1, 64, 64, 64)] * 192)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for rows in torch.randperm(192).split(8):
    arrays.take(rows).sum()
total = sum(float(image.sum()) for image in arrays)
for part in arrays.parts(256):
    part.sum()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_reading_all_of_a_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "flat.bin"
    with path.open("wb") as file:
        file.truncate(192 * 2**20)
    said = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(said.stdout) < 60  # MiB, of 192
