"""Text files damaged at random, and what must come of reading one: a listing or one clear line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from archimed.data.listing import Listing
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError

Lister = Callable[[Path, DataSettings, Problems], Listing]

SPOILS = (*(b"", b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"\xe2\x80\xa8", b"9", b"{", b"]", b"nan", b"\\ud800"), b"-")
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 3.5, 10**400, float("nan"), float("inf"), "", " ", "0", "x\ny", "\ud800", "a\0", "x" * 5000),
    *([], [[]], [None, 1], {}, {"0": {}}, {"image": 1}, [{"image": []}], "../..", "~", "label.nii.gz"),
)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with a few replaced, put in or left out; sometimes cut off."""
    result = bytearray(content[: rng.integers(len(content))] if rng.random() < 0.2 else content)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(len(result) + 1))
        result[place : place + int(rng.integers(3))] = SPOILS[rng.integers(len(SPOILS))]
    return bytes(result)


def wrong_typed(value: Any, rng: np.random.Generator) -> Any:
    """A copy of a JSON value in which one part, at random, is another value, missing, or has another name."""
    copy = json.loads(json.dumps(value))
    place = copy
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[rng.integers(len(keys))]
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.7:
            place = place[key]
            continue
        choice = rng.random()
        if choice < 0.8:
            place[key] = VALUES[rng.integers(len(VALUES))]
        elif choice < 0.9:
            del place[key]
        elif isinstance(place, dict):
            place[str(VALUES[rng.integers(len(VALUES))])[:9]] = place.pop(key)
        return copy


def assert_listed_or_refused(lister: Lister, path: Path, settings: DataSettings, strict: bool) -> None:
    """Fail unless the lister gives cases or a DataError of one printable line."""
    message = None
    try:
        found = lister(path, settings, Problems(strict))
    except DataError as error:
        message = str(error)
    if message is None:
        assert found.entries
        assert all(len(entry.images) == len(found.modalities) for entry in found.entries)
        return
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    message.encode()
