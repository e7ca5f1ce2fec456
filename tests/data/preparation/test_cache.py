"""The cache of prepared images: used when nothing changed, never when something did, complete or not there."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archimed.data.listing import Modality
from archimed.data.preparation import cache, cache_folder, content, store
from archimed.data.preparation.content import Contents
from archimed.data.preparation.flat_file import FlatFile
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError
from tests.data.preparation.builder import CANARY, CASES, Reader, build, make_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of prepared images, of this test alone."""
    monkeypatch.setenv("ARCHIMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "SETTLED", 0)
    return tmp_path / "cache" / "prepared"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def reader(files: Path) -> Reader:
    return Reader(make_files(files), masks=True)


def kept(folder: Path) -> list[str]:
    """Names in the folder, but of what is remembered of files."""
    return sorted(path.name for path in folder.iterdir() if path.name != "contents.bin")


def test_a_second_reading_is_not_one(reader: Reader, folder: Path) -> None:
    first = build(reader)
    reader.check(first)
    assert len(kept(folder)) == 1
    second = build(Reader(reader.listing, masks=True, leave_out=0))  # would differ
    reader.check(second)
    assert reader.calls == 1
    assert second.facts == first.facts
    assert second.images.dtype == torch.int16
    assert isinstance(second.images._flat, FlatFile)


def test_without_the_cache_nothing_is_written(reader: Reader, folder: Path) -> None:
    for _ in range(2):
        reader.check(build(reader, DataSettings(cache=False)))
    assert reader.calls == 2
    assert not folder.exists()


def test_nothing_in_the_cache_tells_a_name(reader: Reader, files: Path, folder: Path) -> None:
    build(reader)
    assert len(list(folder.rglob("*"))) == 5
    for path in folder.rglob("*"):
        for secret in (CANARY, "Doe", "Jane", str(files), "csv", ".raw"):
            assert secret not in path.name
            assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_other_users_cannot_look_into_the_cache(reader: Reader, folder: Path) -> None:
    build(reader)
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir() if path.is_dir())


def change(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def change_in_secret(path: Path) -> None:
    """Same size, same modification time, same inode."""
    times = path.stat()
    with path.open("r+b") as file:
        file.write(bytes([path.read_bytes()[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(path: Path) -> None:
    path.with_suffix(".new").write_bytes(path.read_bytes()[::-1])
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("alter", [change, change_in_secret, replace])
def test_a_changed_file_is_noticed(reader: Reader, files: Path, alter: Callable[[Path], None]) -> None:
    build(reader)
    alter(files / f"{CANARY}3.raw")
    reader.check(build(reader))
    assert reader.calls == 2


def test_added_and_removed_cases_are_noticed(reader: Reader) -> None:
    build(reader)
    listing = reader.listing
    for entries in (
        listing.entries[1:],
        listing.entries[:-1],
        (*listing.entries, listing.entries[0]),
        listing.entries[::-1],
    ):
        other = Reader(type(listing)("set", "csv", entries))
        found = build(other)
        assert other.calls == 1
        assert len(found.images) == len(entries)


def test_files_of_a_series_are_noticed(files: Path) -> None:
    make_files(files)
    contents = Contents(files.parent / "contents.bin")
    before = contents.of([files])
    assert Contents(files.parent / "x").of([files]) == before
    (files / f"{CANARY}12.raw").write_bytes(b"more")
    more = contents.of([files])
    (files / f"{CANARY}12.raw").unlink()
    (files / ".DS_Store").touch()
    assert before == contents.of([files]) != more
    change(files / f"{CANARY}3.raw")
    assert contents.of([files]) not in (before, more)


@pytest.mark.parametrize(
    ("name", "text"), [("a.mhd", "NDims = 3\nElementDataFile = b.raw\n"), ("a.nhdr", "NRRD0004\ndata file: b.raw\n\n")]
)
def test_voxels_in_a_file_of_their_own_are_noticed(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "b.raw").write_bytes(b"1")
    contents = Contents(tmp_path / "contents.bin")
    before = contents.of([tmp_path / name])
    (tmp_path / "b.raw").write_bytes(b"2")
    assert contents.of([tmp_path / name]) != before


def test_a_file_that_was_only_touched_or_moved_is_known(reader: Reader, files: Path, tmp_path: Path) -> None:
    build(reader)
    for path in files.iterdir():
        path.touch()
    build(reader)
    shutil.copytree(files, tmp_path / "elsewhere")
    moved = Reader(make_files(tmp_path / "elsewhere"), masks=True)
    moved.check(build(moved))
    assert (reader.calls, moved.calls) == (1, 0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are hashed from now on."""
    found, original = [], Contents._hash

    def counted(contents: Contents, file: Path) -> bytes:
        found.append(file)
        return original(contents, file)

    monkeypatch.setattr(Contents, "_hash", counted)
    return found


def test_known_files_are_not_read_again(reader: Reader, files: Path, opened: list[Path]) -> None:
    for expected in (CASES, CASES):
        build(reader)
        assert len(opened) == expected
    (files / f"{CANARY}3.raw").touch()
    build(reader)
    assert opened[CASES:] == [files / f"{CANARY}3.raw"]
    assert reader.calls == 1


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 100])
def test_a_damaged_memory_of_files_is_not_believed(
    reader: Reader, folder: Path, opened: list[Path], damage: bytes
) -> None:
    build(reader)
    whole = (folder / "contents.bin").read_bytes()
    for content_of_file in (damage, whole[:-1], whole[:-48], whole[:40] + b"x" + whole[41:]):
        opened.clear()
        (folder / "contents.bin").write_bytes(content_of_file)
        build(reader)
        assert len(opened) == CASES
        assert (folder / "contents.bin").read_bytes() == whole
    assert reader.calls == 1


def test_files_changed_a_moment_ago_are_not_trusted_by_their_times(
    reader: Reader, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SETTLED", 60_000_000_000)
    build(reader)
    build(reader)
    assert len(opened) == 2 * CASES
    assert reader.calls == 1


OTHER_SETTINGS: list[dict[str, Any]] = [
    {"image_size": 32}, {"fit": "crop-or-pad"}, {"spacing_mm": 1.0}, {"channels": 1}, {"mask_values": "foreground"},
    {"roi": "GTV"}, {"region_margin_mm": 5.0}, {"normalisation": "half"}, {"kind": "mr"}, {"region_channel": True},
]  # fmt: skip
SAME_PIXELS: list[dict[str, Any]] = [
    {"folds": 5}, {"fold_repeats": 2}, {"test_fraction": 0.3}, {"validation_fraction": 0.3}, {"positive_class": "a"},
    {"ct_window": (0.0, 80.0)}, {"suv_window": (0.0, 10.0)}, {"ordinal": True}, {"columns": {"image": "file"}},
    {"heads": "per-dataset"},
]  # fmt: skip


@pytest.mark.parametrize("changed", OTHER_SETTINGS)
def test_settings_that_change_pixels_change_the_key(reader: Reader, changed: dict[str, Any]) -> None:
    build(reader)
    build(reader, DataSettings(**changed))
    assert reader.calls == 2


@pytest.mark.parametrize("changed", SAME_PIXELS)
def test_other_settings_do_not(reader: Reader, changed: dict[str, Any]) -> None:
    build(reader)
    build(reader, DataSettings(**changed))
    assert reader.calls == 1


def test_every_setting_is_one_or_the_other() -> None:
    known = set(cache.NOT_OF_PIXELS) | {name for changed in OTHER_SETTINGS for name in changed}
    assert known == set(DataSettings.__dataclass_fields__)


def test_modalities_and_code_change_the_key(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    contents, settings, listing = Contents(Path("none")), DataSettings(), reader.listing
    as_pet = type(listing)("set", "csv", listing.entries, (Modality("image", "pet"),))
    keys = {cache.cache_key(one, settings, contents) for one in (listing, as_pet)}
    monkeypatch.setattr(cache, "code_version", lambda: "another")
    keys.add(cache.cache_key(listing, settings, contents))
    assert len(keys) == 3


def test_a_set_with_a_case_left_out_is_used_and_not_kept(reader: Reader, folder: Path) -> None:
    partial = Reader(reader.listing, masks=True, leave_out=4)
    found = build(partial)
    partial.check(found)
    assert kept(folder) == []
    build(partial)
    assert partial.calls == 2


def test_a_set_with_a_missing_file_is_not_kept(reader: Reader, files: Path, folder: Path) -> None:
    (files / f"{CANARY}4.raw").unlink()
    partial = Reader(reader.listing, masks=True, leave_out=4)
    partial.check(build(partial))
    assert kept(folder) == []


def test_a_reading_that_fails_leaves_nothing(reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(row: int) -> None:
        raise DataError(f"row {row}")

    monkeypatch.setattr(reader, "image", lambda row: fail(row) if row == 5 else Reader.image(reader, row))
    with pytest.raises(DataError, match="row 5"):
        build(reader)
    assert kept(folder) == []


def test_a_file_that_changes_while_the_set_is_read_is_not_kept(
    reader: Reader, files: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disturbed(row: int) -> torch.Tensor:
        if row == 5:
            change(files / f"{CANARY}9.raw")
        return Reader.image(reader, row)

    with monkeypatch.context() as patch:
        patch.setattr(reader, "image", disturbed)
        build(reader)
    assert kept(folder) == []
    reader.check(build(reader))
    assert len(kept(folder)) == 1


def first(folder: Path, name: str) -> Path:
    return next(folder.glob(f"*/{name}"))


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def turn_a_digit(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace("0.1", "0.2", 1))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("images.bin", damage) for damage in (shorten, lengthen, Path.unlink)),
        *(("masks.bin", damage) for damage in (shorten, lengthen, Path.unlink)),
        *(("index.json", damage) for damage in (shorten, lengthen, Path.unlink, turn_a_digit)),
        ("index.json", lambda path: path.write_text("[]")),
        ("index.json", lambda path: path.write_text('{"content": {}, "checksum": ""}')),
        ("index.json", lambda path: path.write_bytes(b"\xff\xfe")),
    ],
)
def test_what_is_damaged_is_made_anew(
    reader: Reader, folder: Path, name: str, damage: Callable[[Path], object]
) -> None:
    build(reader)
    damage(first(folder, name))
    reader.check(build(reader))
    build(reader)
    assert reader.calls == 2
    assert len(kept(folder)) == 1


def test_an_entry_under_another_name_is_not_believed(reader: Reader, files: Path, folder: Path) -> None:
    build(reader)
    change(files / f"{CANARY}3.raw")
    contents = Contents(files / "none")
    key = cache.cache_key(reader.listing, DataSettings(), contents)
    assert key is not None
    first(folder, "index.json").parent.rename(folder / key)
    reader.check(build(reader))
    assert reader.calls == 2


def test_patients_hidden_by_a_lost_key_are_hidden_anew(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build(reader)
    monkeypatch.setenv("ARCHIMED_CONFIG", str(tmp_path / "another"))
    after = build(reader)
    assert reader.calls == 2
    assert not set(before.facts.patients) & set(after.facts.patients)


def test_arrays_outlive_the_cache(reader: Reader, folder: Path) -> None:
    found = build(reader)
    again = build(reader)
    assert cache_folder.clear() > 1000
    assert list(folder.iterdir()) == []
    reader.check(found)
    reader.check(again)


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (store._Flat, "write"), (store.FileSink, "sync"), (cache, "write_text"), (cache_folder.Building, "rename"),
        (cache_folder.tempfile, "mkdtemp"),
    ],
)  # fmt: skip
def test_a_full_disk_is_told_and_images_are_held_in_memory(
    reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    problems = Problems(strict=True)
    with monkeypatch.context() as patch:
        patch.setattr(where, name, no_room)
        found = build(reader, problems=problems)
    reader.check(found)
    assert not isinstance(found.images._flat, FlatFile)
    assert "No space left on device" in problems.cautions[0]
    assert "ARCHIMED_CACHE" in problems.cautions[0]
    assert kept(folder) == []


def test_a_disk_that_is_full_in_the_middle(reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, count = store._Flat.write, [0]

    def write(flat: Any, array: torch.Tensor) -> None:
        count[0] += 1
        if count[0] == 9:
            no_room()
        original(flat, array)

    monkeypatch.setattr(store._Flat, "write", write)
    reader.check(build(reader))
    assert kept(folder) == []


def test_room_is_looked_for_before_the_first_case(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 64 * 3 * CASES - 1))
    found = build(reader, problems=Problems(strict=True))
    assert not isinstance(found.images._flat, FlatFile)


def test_neither_disk_nor_memory(reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = store.psutil.virtual_memory()._replace(available=2 * 64 * 3 * CASES - 2)
    monkeypatch.setattr(store.psutil, "virtual_memory", lambda: free)
    with monkeypatch.context() as patch:
        patch.setattr(store._Flat, "write", no_room)
        with pytest.raises(DataError, match="12 cases like the last take") as told:
            build(reader)
    assert "\n" not in str(told.value)
    assert kept(folder) == []
    reader.check(build(reader))


def test_a_folder_that_cannot_be_made(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARCHIMED_CACHE", str(tmp_path / "file"))
    problems = Problems(strict=True)
    reader.check(build(reader, problems=problems))
    assert "Not a directory" in problems.cautions[0]


def test_a_set_of_two_thousand_cases_is_found_again(files: Path) -> None:
    listing = make_files(files)
    entry = listing.entries[0]
    many = Reader(type(listing)("set", "csv", (entry,) * 2000))
    build(many)
    key = cache.cache_key(many.listing, DataSettings(), Contents(cache_folder.memory_of_contents()))
    assert key is not None
    found = cache.open_entry(key)
    assert found is not None
    assert len(found.images) == 2000


def start(files: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.data.preparation.builder", str(files), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


def wait_for(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line
    pytest.fail(f"the process ended before it told {word!r}")


def test_two_processes_build_the_same_set_at_once(reader: Reader, files: Path, folder: Path) -> None:
    processes = [start(files, 0.02) for _ in range(2)]
    told = [wait_for(process, "done") for process in processes]
    for process in processes:
        process.communicate()
    assert "done after 1 readings\n" in told
    assert len(kept(folder)) == 1
    reader.check(build(reader))
    assert reader.calls == 0


def test_many_threads_build_the_same_set_at_once(reader: Reader, folder: Path) -> None:
    failures: list[BaseException] = []

    def one() -> None:
        try:
            reader.check(build(Reader(reader.listing, masks=True, pause=0.001)))
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(kept(folder)) == 1


@pytest.mark.slow
def test_a_build_that_is_killed_leaves_nothing_that_is_trusted(reader: Reader, files: Path, folder: Path) -> None:
    rng, left = np.random.default_rng(5), 0
    for _ in range(3):
        process = start(files, 0.05)
        wait_for(process, "started")
        time.sleep(rng.uniform(0.05, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        left += len(kept(folder))
        assert not cache_folder.entries()
    assert left > 0
    reader.check(build(reader))
    assert reader.calls == 1
    assert len(kept(folder)) == 1  # what was left is cleared away


def test_a_build_under_way_is_not_cleared_away(reader: Reader, files: Path, folder: Path) -> None:
    process = start(files, 0.1)
    wait_for(process, "started")
    while not list(folder.glob("building-*/images.bin")):
        time.sleep(0.01)
    other = Reader(type(reader.listing)("set", "csv", reader.listing.entries[1:]))
    build(other)
    assert len(kept(folder)) == 2
    cache_folder.clear()
    assert len(kept(folder)) == 1
    assert wait_for(process, "done") == "done after 1 readings\n"
    process.communicate()
    reader.check(build(reader))
    assert reader.calls == 0


def test_a_folder_that_is_taken_for_abandoned_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, thieves = cache_folder._lock, iter([True, True])

    def lock(path: Path) -> int | None:
        if next(thieves, False):
            shutil.rmtree(path)
        return original(path)

    monkeypatch.setattr(cache_folder, "_lock", lock)
    with cache_folder.Building() as building:
        assert building.path.exists()
        assert kept(folder) == [building.path.name]
    assert kept(folder) == []


def test_what_is_kept_is_listed(reader: Reader, folder: Path) -> None:
    build(reader)
    build(Reader(reader.listing), DataSettings(image_size=32))
    os.utime(first(folder, "index.json"), (1e9, 1e9))
    listed = cache.kept_sets()
    assert {one.images for one in listed} == {"12 images with masks, 1x1x64, int16", "12 images, 1x1x64, int16"}
    assert listed[1].last_used == 1e9
    assert listed[0].bytes == sum(path.stat().st_size for path in (folder / listed[0].key).iterdir())
    build(reader)
    build(Reader(reader.listing), DataSettings(image_size=32))
    assert all(one.last_used > 1e9 for one in cache.kept_sets())
    (folder / listed[0].key / "index.json").write_text(json.dumps({}))
    assert None in [one.images for one in cache.kept_sets()]
