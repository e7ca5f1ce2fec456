from dataclasses import replace
from xml.etree import ElementTree

import pytest

from archimed.report.figures.mixture import mixture_figures
from archimed.report.figures.mixture_log import MixtureLog

OPTIONS = ("zero", "conv_3", "identity")
LOG = MixtureLog(
    name="mm-nas",
    place="",
    epochs=tuple({"epoch": k, "weight_loss": 1 / k, "validation_loss": 0.7, "entropy": 0.9} for k in (1, 2, 3)),
    picked=2.0,
    weights={"normal.node1.input1": [[0.2, 0.3, 0.5], [0.1, 0.7, 0.2], [0.1, 0.8, 0.1]]},
    options={"normal.node1.input1": OPTIONS},
    chosen={"normal.node1.input1": "conv_3"},
    inputs={"normal": ("PET stem", "CT stem")},
)


def bodies(log: MixtureLog) -> dict[str, str]:
    return {figure.name: figure.body for figure in mixture_figures(log, "", edges=True)}


def test_the_table_shows_the_epoch_picked_and_frames_what_was_chosen() -> None:
    table = bodies(LOG)["mixture_normal"]
    assert [f">{number}<" in table for number in ("10.0", "70.0", "20.0", "80.0")] == [True, True, True, False]
    assert table.count('class="picked"') == 1
    assert "PET stem → node 1" in table


def test_without_an_epoch_picked_the_last_stands_in() -> None:
    found = bodies(replace(LOG, picked=None))
    assert ">80.0<" in found["mixture_normal"]
    assert "marker" not in found["search_losses"]


def test_the_option_of_the_network_is_bold_on_its_edge() -> None:
    body = bodies(LOG)["mixture_epochs_normal"]
    assert body.count(" bold") == 1
    assert 's3 solid bold"' in body


@pytest.mark.parametrize("hostile", ["<script>", "a&b\x07", "", "x" * 200])
def test_any_name_is_words(hostile: str) -> None:
    choice = f"{hostile}.node1.input1"
    log = replace(LOG, place=hostile, weights={choice: LOG.weights["normal.node1.input1"]}, options={choice: OPTIONS})
    for figure in mixture_figures(log, "", edges=True):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(figure.standalone()).iter()}  # noqa: S314 (our own)
        assert "script" not in tags


def test_a_mixture_that_never_moved_is_drawn() -> None:
    flat = replace(LOG, weights={"a": [[0.5, 0.5]] * 3}, options={"a": ("x", "y")}, chosen={})
    figure = next(f for f in mixture_figures(flat, "", edges=True) if f.name == "mixture_epochs_network")
    assert "all about 50.0" in figure.reading
