from pathlib import Path
from typing import Any

import pytest

import archimed
from archimed.errors import ArchimedError, RunError, SettingsError
from archimed.experiment.transfer import chosen_architecture, resolve_transfer
from archimed.files import write_json
from archimed.methods.random_search import RandomSearch
from tests.experiment.interruption import interrupted_training
from tests.experiment.tiny import COMMON, read, result_of, tiny_run, write_npz

MACHINE = {name: value for name, value in COMMON.items() if name.startswith("machine.")}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, grey: Path) -> Path:
    """A finished run with a searched baseline."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archimed.experiment.pipeline.write_report", lambda folder: folder)
        return tiny_run(
            grey, tmp_path_factory.mktemp("searched") / "first", evaluation__baselines="random-search", repeats=2
        )


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Larger images in colour of three classes."""
    return write_npz(tmp_path_factory.mktemp("other") / "colour.npz", classes=3, channels=3, size=16)


def transfer(run: Path, data: Path, out: Path, **settings: Any) -> Path:
    own = (
        MACHINE | {"evaluation.baselines": "none"} | {key.replace("__", "."): value for key, value in settings.items()}
    )
    return archimed.transfer(run, str(data), out, settings=own)


def test_an_architecture_is_trained_on_other_sizes_channels_and_classes(
    searched: Path, colour: Path, tmp_path: Path
) -> None:
    out = transfer(searched, colour, tmp_path / "second", evaluation__baselines="random-search")
    before = {
        line["network"]: line for line in read(searched / "search" / "selected.json")["selected"] if not line["seed"]
    }
    selected = read(out / "search" / "selected.json")["selected"]
    assert [(line["network"], line["seed"]) for line in selected] == [
        (name, seed) for seed in (0, 1) for name in ("mstf-nas", "random-search")
    ]
    for line in selected:
        assert (line["genotype"], line["space"]) == tuple(before[line["network"]][key] for key in ("genotype", "space"))
        assert line["rule"] == f"the architecture of {line['network']} in the run first"
    task = read(out / "networks" / "mstf-nas" / "fold0.seed1" / "architecture.json")["task"]
    assert (task["channels"], task["image_size"], len(task["class_names"])) == (3, [16, 16], 3)
    assert not (out / "search" / "candidates.jsonl").exists()
    assert read(out / "summary.json")["seconds"]["search"] == 0
    page = (out / "report.html").read_text()
    assert "--architecture" in page
    assert "in the run first" in page


@pytest.mark.usefixtures("no_report")
def test_an_interrupted_transfer_goes_on_without_the_first_run(searched: Path, colour: Path, tmp_path: Path) -> None:
    whole = transfer(searched, colour, tmp_path / "whole")
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "first").symlink_to(searched)
    with interrupted_training(2):
        transfer(moved / "first", colour, tmp_path / "broken")
    (moved / "first").unlink()
    from archimed.experiment.pipeline import STAGES, run_again
    from archimed.experiment.progress import Silent

    run_again(tmp_path / "broken", STAGES, Silent())
    results = [without_architecture(tmp_path / name) for name in ("whole", "broken")]
    assert results[0] == results[1]
    assert whole.exists()


def without_architecture(run: Path) -> dict[str, Any]:
    """A run's results, but for where its architecture came from."""
    found = result_of(run)
    del found["experiment"]["architecture"]
    return found


def refused(architecture: Path, data: Path, out: Path, **settings: Any) -> str:
    with pytest.raises(ArchimedError) as error:
        transfer(architecture, data, out, **settings)
    assert "\n" not in str(error.value)
    assert not out.exists()
    return str(error.value)


def test_a_flat_architecture_is_refused_volumes(searched: Path, tmp_path: Path) -> None:
    volumes = write_npz(tmp_path / "volumes.npz", channels=12)
    assert "is for 2 dimensions, volumes has 3" in refused(searched, volumes, tmp_path / "out")


def test_an_architecture_is_refused_another_space(searched: Path, grey: Path, tmp_path: Path) -> None:
    message = refused(searched, grey, tmp_path / "out", **{"space.width": 8})
    assert "with space.width=4; got 8. Leave --set space.width out" in message


def test_a_classifier_is_refused_masks(searched: Path, tmp_path: Path) -> None:
    message = refused(searched, Path("phantom:cells?cases=20"), tmp_path / "out")
    assert "classify whole images" in message


def test_several_data_sets_need_a_method_that_takes_them(
    searched: Path, grey: Path, colour: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="mstf-nas takes one --data; got 2"):
        archimed.transfer(searched, [str(grey), str(colour)], tmp_path / "out")


@pytest.mark.usefixtures("no_report")
def test_one_architecture_is_trained_on_several_data_sets(
    grey: Path, colour: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiny_run(grey, tmp_path / "first", "random-search")
    monkeypatch.setattr(RandomSearch, "data_sets", "together", raising=False)
    out = archimed.transfer(
        first, [str(grey), str(colour)], tmp_path / "out", settings={"evaluation.baselines": "none"}
    )
    assert len(read(out / "search" / "selected.json")["selected"]) == 1
    assert sorted(path.parent.name for path in out.glob("networks/*/*/metrics.json")) == [
        "colour.fold0.seed0",
        "grey.fold0.seed0",
    ]


def test_a_searched_baseline_that_the_run_lacks_is_refused(searched: Path, grey: Path, tmp_path: Path) -> None:
    message = refused(searched, grey, tmp_path / "out", evaluation__baselines="parameters")
    assert "has no parameters. Leave it out of --baselines" in message


def test_what_is_no_run_or_has_no_architecture_is_refused(searched: Path, grey: Path, tmp_path: Path) -> None:
    assert "is in none. Check the path" in refused(tmp_path / "none", grey, tmp_path / "out")
    other = searched / "networks" / "random-search" / "fold0.seed0"
    assert "or a folder of mstf-nas in it" in refused(other, grey, tmp_path / "out")
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "experiment.yaml").write_text((searched / "experiment.yaml").read_text())
    assert "Go on with: archimed resume" in refused(begun, grey, tmp_path / "out")


def test_one_of_several_architectures_must_be_named(tmp_path: Path) -> None:
    for name, option in (("a", 1), ("b", 2)):
        for seed in (0, 1):
            folder = tmp_path / "networks" / "net" / f"{name}.fold0.seed{seed}"
            write_json(folder / "architecture.json", {"space": {}, "genotype": {"choice": option + seed}})
    (tmp_path / "experiment.yaml").touch()
    with pytest.raises(SettingsError, match=r"net/a.fold0.seed0, .*net/b.fold0.seed0$"):
        chosen_architecture(tmp_path, "net")
    found = chosen_architecture(tmp_path / "networks" / "net" / "b.fold0.seed1", "net")
    assert found.document["genotype"] == {"choice": 3}


def test_a_method_from_a_file_needs_the_users_word(searched: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    text = (searched / "experiment.yaml").read_text().replace("method: mstf-nas", "method: evil.py:Method")
    (run / "experiment.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"add --method evil\.py:Method"):
        resolve_transfer(str(run), None, [], {"sources": ["phantom:lesions2d"]})
    (run / "experiment.yaml").write_text("method: mstf-nas\n")
    with pytest.raises(RunError, match="lacks 'seed'"):
        resolve_transfer(str(run), None, [], {"sources": ["phantom:lesions2d"]})


@pytest.mark.usefixtures("no_report")
def test_its_settings_repeat_a_transfer_and_are_of_no_other_command(searched: Path, grey: Path, tmp_path: Path) -> None:
    out = transfer(searched, grey, tmp_path / "out")
    config = out / "experiment.yaml"
    again = resolve_transfer(str(searched), config, [], {})
    assert again.document()["training"] == read_yaml(config)["training"]
    assert again.sources == (str(grey),)
    from archimed.experiment.layers import resolve

    with pytest.raises(SettingsError, match="archimed train --architecture"):
        resolve("mstf-nas", "default", config, [], {})


def read_yaml(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text())
