"""What the JPEG decoder of GDCM says on the terminal, and only there, when it fills damaged parts with guesses."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from archimed.data.dicom.header import REPLACE, RefusedError

STDERR = 2
COMPLAINTS = (  # how libjpeg's messages on damaged data begin; GDCM may go on after errors too
    b"Bogus", b"Corrupt JPEG", b"Empty", b"Huffman table", b"Improper", b"Inconsistent progression", b"Invalid",
    b"Missing", b"Not a JPEG", b"Premature end", b"Quantization table", b"Sampling factors", b"Sorry",
    b"Unknown Adobe", b"Unsupported",
)  # fmt: skip
NOISE = (b"Unsupported JPEG data precision", b"Invalid SOS parameters for sequential")  # of decoders tried in turn
HARMLESS = b"extraneous bytes before marker 0xd9"  # all pixels were decoded before
_redirected = threading.Lock()  # the terminal is one for all threads


@contextmanager
def complaints_refused() -> Iterator[None]:
    """RefusedError where libjpeg complains within; what others write to the terminal meanwhile still gets there.

    What is written before another error is left out, since that is the decoder's last word.
    """
    with _redirected, tempfile.TemporaryFile() as file:
        try:
            terminal = os.dup(STDERR)
        except OSError:  # closed, as in a daemon
            yield
            return
        os.dup2(file.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(terminal, STDERR)
            os.close(terminal)
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
    complaints = [line for line in lines if line.startswith(COMPLAINTS) and not line.startswith(NOISE)]
    os.write(STDERR, b"".join(line for line in lines if not line.startswith((*COMPLAINTS, *NOISE))))
    if any(HARMLESS not in line for line in complaints):
        raise RefusedError("Pixel data must be whole", "has damaged JPEG data", REPLACE)
