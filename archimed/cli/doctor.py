"""`archimed doctor`: is this installation able to do its work, and how fast is the machine?"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import typer

from archimed.errors import ArchimedError

LEAST_DISK_GIB = 2.0
LEAST_MEMORY_GIB = 4.0


def doctor() -> None:
    """Check this installation, part by part; exit code 2 if something must be mended."""
    checks: dict[str, Callable[[], str]] = {
        "python": check_python,
        "torch": check_torch,
        "monai": check_monai,
        "torchvision": check_torchvision,
        "memory": check_memory,
        "disk": check_disk,
        "cache": check_cache,
        "speed": check_speed,
        "network": check_network,
    }
    failed = 0
    for name, check in checks.items():
        try:
            typer.echo(f"ok    {name:<12} {check()}")
        except ArchimedError as error:
            failed += 1
            typer.echo(f"MEND  {name:<12} {error}")
    if failed:
        raise typer.Exit(2)


def check_python() -> str:
    """The interpreter."""
    import platform

    return platform.python_version()


def check_torch() -> str:
    """PyTorch and where it can compute."""
    try:
        import torch
    except Exception as error:
        raise ArchimedError(f"PyTorch does not import ({error}). Install it: pip install 'torch>=2.8,<2.14'") from error
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU, processor only"
    return f"{torch.__version__}, {gpu}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def check_monai() -> str:
    """MONAI, which gives the baselines."""
    try:
        import monai
    except Exception as error:
        raise ArchimedError(f"MONAI does not import ({error}). Install it: pip install 'monai>=1.6'") from error
    return str(monai.__version__)


def check_torchvision() -> str:
    """A torchvision of another build than PyTorch breaks other packages; archimed does not need it."""
    from importlib.util import find_spec

    if find_spec("torchvision") is None:
        return "absent, and not needed"
    try:
        import torchvision  # type: ignore[import-not-found,unused-ignore]
    except Exception as error:
        raise ArchimedError(
            f"torchvision is of another build than PyTorch ({str(error).splitlines()[0]}). archimed does not need it: "
            "pip uninstall torchvision"
        ) from error
    return f"{torchvision.__version__}, works, and not needed"


def check_memory() -> str:
    """Free memory."""
    import psutil

    free = psutil.virtual_memory().available / 2**30
    if free < LEAST_MEMORY_GIB:
        raise ArchimedError(f"At least {LEAST_MEMORY_GIB:g} GiB should be free; {free:.1f} are. Close other programs.")
    return f"{free:.1f} GiB free"


def check_disk() -> str:
    """Free disk in this folder."""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < LEAST_DISK_GIB:
        raise ArchimedError(f"At least {LEAST_DISK_GIB:g} GiB should be free here; {free:.1f} are. Make room.")
    return f"{free:.0f} GiB free here"


def check_cache() -> str:
    """What prepared images take on the disk."""
    from archimed.data.preparation.cache_folder import prepared_folder, size_of

    return f"{size_of(prepared_folder()) / 2**30:.1f} GiB of prepared images (archimed data cache --clear frees them)"


def check_speed() -> str:
    """The rate of a dense product, and whether another program holds the processor."""
    import psutil
    import torch

    matrix = torch.randn(1024, 1024)
    matrix @ matrix
    started = time.perf_counter()
    for _ in range(5):
        matrix @ matrix
    rate = 5 * 2 * 1024**3 / (time.perf_counter() - started) / 1e9
    load = psutil.getloadavg()[0]
    busy = f"; other programs keep {load:.1f} cores busy" if load > 0.5 else ""
    return f"{rate:.0f} GFLOP/s in float32{busy}"


def check_network() -> str:
    """A small network, forward and backward."""
    import torch

    from archimed.spaces.multiscale_cell import MultiscaleCellSpace
    from archimed.task import ImagingTask

    space = MultiscaleCellSpace(width=8)
    network = space.build((0,) * len(space.choices), ImagingTask("binary", ("no", "yes"), 1, (28, 28)))
    network(torch.randn(2, 1, 28, 28)).sum().backward()
    return "a searched network computes forward and backward"
