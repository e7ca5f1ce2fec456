"""Files that are never half-written: every write goes to a temporary name, is synced, then renamed."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from archimed.errors import RunError

MOST_JSON_BYTES = 2**28  # of a file of a run; the ids of some million cases
MOST_YAML_BYTES = 2**20  # of settings
DEEPEST_YAML = 20  # lists and mappings within each other


def write_through(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then sync and rename it; on an error nothing is left.

    The file gets the usual permissions, also from a library that makes its own private.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        if temporary.stat().st_mode != mode:
            temporary.chmod(mode)
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file is on the disk, so that it outlasts the machine's power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_through(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, atomically; NaN and infinities are refused, as JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file, which holds an object.

    Raises:
        RunError: the file is missing, too large, is not JSON, or holds anything else.
    """
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise ValueError(f"more than {MOST_JSON_BYTES >> 20} MiB")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"A file of the run is missing: {path}. Was the stage that writes it run?") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"A file of the run is damaged: {path} ({error}). Delete it and resume the run.") from None
    if not isinstance(value, dict):
        raise RunError(f"A file of the run is damaged: {path} holds no JSON object. Delete it and resume the run.")
    return value


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values, which can name no code and repeat nothing by reference.

    Raises:
        OSError: it cannot be read.
        ValueError: in one line, why it is not such a file.
    """
    import yaml

    if path.stat().st_size > MOST_YAML_BYTES:
        raise ValueError(f"it has more than {MOST_YAML_BYTES:,} bytes")
    text = path.read_text(encoding="utf-8")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it repeats a part by *reference, of which a few make a file that fills the memory")
            if depth > DEEPEST_YAML:
                raise ValueError(f"it is nested deeper than {DEEPEST_YAML} levels")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError((str(error).splitlines() or ["no YAML"])[0]) from None


def append_line(path: Path, record: Mapping[str, object]) -> None:
    """Append one record to a JSON-lines log and hand it to the operating system at once."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")


def write_lines(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Write a JSON-lines log anew, atomically."""
    write_text(path, "".join(json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n" for record in records))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines log; [] where there is none. A last line cut off by a crash is removed.

    Raises:
        RunError: a line other than the last is damaged.
    """
    if not path.exists():
        return []
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if whole != raw:
        write_through(path, lambda temporary: temporary.write_bytes(whole))
    records = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise RunError(
                f"A log is damaged in line {number}: {path}. Remove the lines from there on and resume the run."
            )
        records.append(record)
    return records
