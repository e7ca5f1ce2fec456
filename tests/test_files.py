import errno
import json
import math
import os
from pathlib import Path
from typing import NoReturn

import pytest

from archimed.errors import RunError
from archimed.files import append_line, read_json, read_lines, write_json, write_text, write_through


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_is_all_there_is(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "folder" / "note.txt", "größer\n")
    assert (tmp_path / "new" / "folder" / "note.txt").read_bytes() == "größer\n".encode()
    assert names(tmp_path / "new" / "folder") == ["note.txt"]


def test_a_file_that_its_writer_made_private_gets_the_usual_permissions(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        temporary.unlink()
        temporary.write_text("weights")
        temporary.chmod(0o600)

    (tmp_path / "usual").touch()
    write_through(tmp_path / "weights", write)
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "weights").read_text() == "weights"


def test_a_write_that_fails_midway_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")

    def fail_midway(temporary: Path) -> NoReturn:
        temporary.write_text("half of the n")
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))

    with pytest.raises(OSError, match="No space left"):
        write_through(path, fail_midway)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fails_after_the_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")

    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)))
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_the_file_is_synced_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    sync, rename = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        order.append("sync")
        sync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        order.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    write_text(tmp_path / "note.txt", "text")
    assert order == ["sync", "rename"]


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"name": "é", "numbers": [1, 0.1, None, True], "nested": {"a": []}}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


@pytest.mark.parametrize("text", ["null", "5", "[]", '"x"'])
def test_json_that_is_no_object_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "value.json").write_text(text)
    with pytest.raises(RunError, match="holds no JSON object"):
        read_json(tmp_path / "value.json")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_has_no_nan(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "value.json", {"auc": [number]})
    with pytest.raises(ValueError, match="JSON compliant"):
        append_line(tmp_path / "log.jsonl", {"auc": number})
    assert read_lines(tmp_path / "log.jsonl") == []
    assert not (tmp_path / "value.json").exists()


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"missing: .*absent\.json"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "cut.json").write_text('{"a": 1')
    with pytest.raises(RunError, match=r"damaged: .*cut\.json"):
        read_json(tmp_path / "cut.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(RunError, match=r"damaged: .*bytes\.json"):
        read_json(tmp_path / "bytes.json")


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "absent.jsonl") == []


RECORDS = [{"number": number, "text": "ü \n \u2028 end"} for number in range(3)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    for record in RECORDS:
        append_line(path, record)
    return path


def test_a_log_comes_back_line_by_line(log: Path) -> None:
    assert read_lines(log) == RECORDS
    assert len(log.read_bytes().splitlines()) == 3


def test_a_line_cut_off_anywhere_is_removed_and_the_log_goes_on(log: Path) -> None:
    whole = log.read_bytes()
    start = whole.rfind(b"\n", 0, -1) + 1
    for cut in range(start, len(whole)):
        log.write_bytes(whole[:cut])
        assert read_lines(log) == RECORDS[:2]
        assert log.read_bytes() == whole[:start]  # repaired on disk: the next line does not join a torn one
        append_line(log, RECORDS[2])
        assert log.read_bytes() == whole


def test_a_sound_log_is_only_read(log: Path) -> None:
    before = log.stat()
    read_lines(log)
    assert (log.stat().st_ino, log.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_damage_before_the_last_line_is_refused_and_named(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + b"\x00\x00\x00\n" + lines[2])
    with pytest.raises(RunError, match=r"damaged in line 2: .*log\.jsonl"):
        read_lines(log)
    assert log.read_bytes() == lines[0] + b"\x00\x00\x00\n" + lines[2]


@pytest.mark.parametrize("line", ["null", "3", '"text"', "[]"])
def test_a_line_that_is_no_record_is_damage(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match="damaged in line 4"):
        read_lines(log)


def test_appended_lines_reach_other_readers_at_once(tmp_path: Path) -> None:
    append_line(tmp_path / "log.jsonl", {"a": 1})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"a": 1}
