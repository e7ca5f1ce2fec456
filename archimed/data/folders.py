"""Where a user's cache and key live, outside every run."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Folder of downloads: $ARCHIMED_CACHE, else the platform's cache folder. It may not exist yet."""
    if "ARCHIMED_CACHE" in os.environ:
        return Path(os.environ["ARCHIMED_CACHE"]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "archimed"
    if sys.platform == "win32":
        return _from("LOCALAPPDATA", Path.home() / "AppData" / "Local") / "archimed" / "cache"
    return _from("XDG_CACHE_HOME", Path.home() / ".cache") / "archimed"


def config_folder() -> Path:
    """Folder of the user's key: $ARCHIMED_CONFIG, else the platform's configuration folder. It may not exist yet."""
    if "ARCHIMED_CONFIG" in os.environ:
        return Path(os.environ["ARCHIMED_CONFIG"]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "archimed"
    if sys.platform == "win32":
        return _from("APPDATA", Path.home() / "AppData" / "Roaming") / "archimed"
    return _from("XDG_CONFIG_HOME", Path.home() / ".config") / "archimed"


def _from(variable: str, otherwise: Path) -> Path:
    return Path(os.environ[variable]) if os.environ.get(variable) else otherwise
