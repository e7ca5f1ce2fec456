"""A file of which no more is asked than it holds."""

import io
import os
from pathlib import Path

LITTLE = 2**16  # bytes that may be asked for unseen


class BoundedFile(io.BufferedReader):
    """A file opened to be read, for libraries that ask for as many bytes as a damaged header tells of.

    Python takes memory for what is asked for before it looks at what is there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(str(path)))  # libraries put its name into messages
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        """As of any file."""
        if size is not None and size > LITTLE:
            size = min(size, max(self.size - self.tell(), 0))
        return super().read(size)
