"""Patients as keyed hashes: equal for one user in all runs, meaningless to anyone without the user's key."""

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from pathlib import Path

from archimed.data.folders import config_folder
from archimed.errors import DataError

KEY_BYTES = 32
HIDDEN = "hidden:"
HASH_DIGITS = 16  # hexadecimal: 64 bits, so that two of a million patients rarely meet


def patient_hash(patient: str, key: bytes) -> str:
    """HMAC-SHA256 of a patient's name or number under the user's key, shortened."""
    return hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]


def hidden(patient: str) -> str:
    """A patient as what may be kept on the user's disk in place of the name."""
    return f"{HIDDEN}{patient_hash(patient, user_key())}"


def hash_of(patient: str, key: bytes) -> str:
    """The keyed hash of a patient by name, or of one who is hidden."""
    found = re.fullmatch(rf"{HIDDEN}([0-9a-f]{{{HASH_DIGITS}}})", patient)
    return found[1] if found else patient_hash(patient, key)


def user_key() -> bytes:
    """The user's key, made once; only the user may read its file."""
    path = config_folder() / "patient.key"
    try:
        if not path.exists():
            _create(path)
        key = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"The key that hides patient names must be readable and, once, writable; {path} is not "
            f"({error.strerror}). Set ARCHIMED_CONFIG to a folder of your own."
        ) from error
    if len(key) != KEY_BYTES:
        raise DataError(f"A key has {KEY_BYTES} bytes; {path} has {len(key)}. Delete it to have a new one made.")
    return key


def _create(path: Path) -> None:
    """Write a new key whole or not at all; of two processes that try at once, the first one's key stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # readable by the user alone
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)  # unlike a rename, never replaces a key
        except FileExistsError:
            return
        except OSError:  # no hard links on this file system
            if not path.exists():
                Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
