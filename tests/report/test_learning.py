import csv
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from archimed.report import write_report
from archimed.report.learning import chosen_options, decision_words, mixture_logs, softmax
from archimed.report.reading import read_run
from archimed.seeding import torch_generator
from archimed.spaces import space_settings
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.strategies.mixtures import draw_alpha, entropy_of, mixture_of

SPACE = FusionCellSpace(num_nodes=2)
EPOCHS, PICKED = 5, 4


def spelt(space: Any, alpha: dict[str, Any]) -> dict[str, str]:
    genotype = space.derive(mixture_of(alpha))
    return {choice.name: choice.options[gene] for choice, gene in zip(space.choices, genotype, strict=True)}


def learnt_run(folder: Path, space: Any, seeds: tuple[int, ...] = (0,)) -> Path:
    """A run of a search that learnt, in the files that a report reads; alpha is drawn, then pulled apart."""
    lines, selected = [], []
    for seed in seeds:
        alpha = {name: 1e3 * a.detach() for name, a in draw_alpha(space.mixed_choices, torch_generator(seed)).items()}
        for epoch in range(1, EPOCHS + 1):
            now = {name: numbers * epoch / EPOCHS for name, numbers in alpha.items()}
            lines.append(
                {
                    "search": "mm-nas",
                    "fold": 0,
                    "seed": seed,
                    "epoch": epoch,
                    "weight_loss": 1 / epoch,
                    "architecture_loss": None if epoch == 1 else 0.9 / epoch,
                    "validation_loss": 0.7,
                    "validation": {"auc": 0.5},
                    "skip_share": 0.1,
                    "zero_share": 0.1,
                    "entropy": entropy_of(mixture_of(now)),
                    "alpha": {name: numbers.tolist() for name, numbers in now.items()},
                }
            )
        choice = {"network": "mm-nas", "fold": 0, "seed": seed, "genotype": spelt(space, alpha)}
        selected.append(choice | {"space": space_settings(space), "measurements": {"epoch": float(PICKED)}})
    task = {"kind": "binary", "class_names": ["a", "b"], "channels": 2, "image_size": [8, 8, 8]}
    (folder / "search").mkdir(parents=True)
    (folder / "search" / "epochs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    (folder / "search" / "selected.json").write_text(json.dumps({"rule": "r", "selected": selected}), "utf-8")
    (folder / "data.json").write_text(json.dumps({"task": task, "channels": {"PET": {}, "CT": {}}}), "utf-8")
    networks = {"mm-nas": {"test": {"auc": {"value": 0.8}}}, "pet-only": {"test": {"auc": {"value": 0.7}}}}
    summary = {"method": "mm-nas", "chosen": "mm-nas", "networks": networks}
    (folder / "summary.json").write_text(json.dumps(summary), "utf-8")
    return folder


@pytest.mark.parametrize("space", [SPACE, DartsCellSpace(num_nodes=2), FusionCellSpace(modalities=(1, 1), num_nodes=1)])
def test_the_log_holds_the_mixture_and_what_was_derived_from_it(tmp_path: Path, space: Any) -> None:
    (log,) = mixture_logs(read_run(learnt_run(tmp_path / "run", space)))
    assert list(log.weights) == [choice.name for choice in space.mixed_choices]
    assert log.options == {choice.name: choice.options for choice in space.mixed_choices}
    assert log.epochs[log.shown]["epoch"] == PICKED
    for name, rows in log.weights.items():
        alpha = torch.tensor(log.epochs[log.shown]["alpha"][name], dtype=torch.float64)
        assert rows[log.shown] == pytest.approx(alpha.softmax(0).tolist(), abs=1e-9)
    assert set(log.chosen.items()) >= {
        (name, max(zip(weights[log.shown][1:], log.options[name][1:], strict=True))[1])
        for name, weights in log.weights.items()
        if name in log.chosen
    }


def test_the_edges_of_a_derived_network_are_those_of_its_one_hot_mixture() -> None:
    alpha = draw_alpha(SPACE.mixed_choices, torch_generator(3))
    mixture = SPACE.one_hot(SPACE.derive(mixture_of(alpha)))
    wanted = {
        choice.name: choice.options[int(mixture[choice.name].argmax())]
        for choice in SPACE.mixed_choices
        if not mixture[choice.name][0]
    }
    chosen = chosen_options(spelt(SPACE, alpha))
    assert {name: option for name, option in chosen.items() if name in mixture} == wanted


def test_a_search_that_learnt_has_its_section_figures_and_tables(tmp_path: Path) -> None:
    run = learnt_run(tmp_path / "run", SPACE, seeds=(0, 1))
    page = write_report(run).read_text(encoding="utf-8")
    assert page.count('id="search"') == 1
    assert "PET only" in page
    assert "MM-NAS" in page
    assert "Node 1 " in page
    figures = {path.stem for path in (run / "figures").glob("*.svg")}
    cells = {f"{name}_{cell}" for name in ("mixture", "mixture_epochs") for cell in ("normal", "reduction")}
    assert cells | {"search_losses", "search_decision", "search_losses_2", "architecture_normal"} <= figures
    for path in (run / "figures").glob("*.svg"):
        ElementTree.parse(path)  # noqa: S314 (our own)
        assert "var(" not in path.read_text(encoding="utf-8")
    assert "PET stem → node 1" in (run / "figures" / "mixture_normal.svg").read_text(encoding="utf-8")
    with (run / "tables" / "mixture.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * sum(len(choice.options) for choice in SPACE.mixed_choices)
    assert sum(row["in the network"] == "True" for row in rows) == 2 * 2 * 2 * SPACE.num_nodes
    with (run / "tables" / "search_epochs.csv").open(encoding="utf-8", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == [str(k) for k in range(1, EPOCHS + 1)] * 2


def test_a_log_of_one_epoch_and_an_unknown_space_is_drawn_with_numbered_options(tmp_path: Path) -> None:
    run = learnt_run(tmp_path / "run", SPACE)
    log = run / "search" / "epochs.jsonl"
    log.write_text(log.read_text("utf-8").splitlines()[0] + "\n", "utf-8")
    selected = run / "search" / "selected.json"
    selected.write_text(selected.read_text("utf-8").replace('"fusion_cell"', '"mine.py:Space"'), "utf-8")
    write_report(run)
    assert "option 1" in (run / "figures" / "mixture_normal.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("alpha", [{}, {"normal.node1.input1": [None]}, {"a": "b"}, {"a": [float("inf")]}, None, 3])
def test_a_damaged_log_leaves_the_section_out(tmp_path: Path, alpha: object) -> None:
    run = learnt_run(tmp_path / "run", SPACE)
    (run / "search" / "epochs.jsonl").write_text(json.dumps({"search": "mm-nas", "alpha": alpha}) + "\n", "utf-8")
    assert 'id="search"' not in write_report(run).read_text(encoding="utf-8")


def test_an_undecided_search_is_called_so(tmp_path: Path) -> None:
    (log,) = mixture_logs(read_run(learnt_run(tmp_path / "run", SPACE)))
    assert "hardly decided" not in decision_words(log)
    undecided = log.__class__(log.name, log.place, ({"entropy": 0.999},), None, {}, {})
    assert "hardly decided" in decision_words(undecided)


def test_softmax_keeps_large_numbers() -> None:
    assert softmax([1000.0, 1000.0]) == [0.5, 0.5]
    assert softmax([0.0, math.log(3)]) == pytest.approx([0.25, 0.75])
