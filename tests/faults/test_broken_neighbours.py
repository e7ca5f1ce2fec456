"""A torchvision of another build than PyTorch raises when imported; no part of a run may stumble over it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiment.tiny import TINY, command_line_settings, read, write_npz

START = "import torch; torch.set_num_threads(1); from archimed.cli import main; main()"


@pytest.mark.slow
def test_a_run_with_a_resnet_beside_broken_packages(tmp_path: Path) -> None:
    for name in ("torchvision", "torchmetrics", "lightning", "pytorch_lightning"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(
            "raise RuntimeError('operator torchvision::nms does not exist')\n"
        )
    data, out = write_npz(tmp_path / "data.npz"), tmp_path / "run"
    settings = {**TINY, "evaluation.baselines": "resnet18", "training.epochs": 1}
    words = ["run", "mstf-nas", "--data", str(data), "--out", str(out), *command_line_settings(settings)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}

    def archimed(*words: str) -> subprocess.CompletedProcess[str]:
        command_line = [sys.executable, "-c", START, *words]
        return subprocess.run(
            command_line, capture_output=True, text=True, check=False, env=environment, cwd=Path(__file__).parents[2]
        )

    said = archimed(*words)
    assert said.returncode == 0, said.stderr
    assert list(read(out / "summary.json")["networks"]) == ["mstf-nas", "resnet18"]
    doctor = archimed("doctor")
    [line] = [line for line in doctor.stdout.splitlines() if "torchvision" in line]
    assert line.startswith("MEND")
    assert "pip uninstall torchvision" in line
    assert doctor.returncode == 2
