import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from archimed.training.recipe import Recipe, checkpoint_metric, checkpoint_metrics, learning_rate_at, passes_per_epoch
from archimed.training.steps import make_optimizer


@pytest.mark.parametrize(("epochs", "milestones"), [(100, (0.5, 0.75)), (7, (0.5, 0.75)), (10, (0.3, 0.7)), (3, ())])
def test_learning_rate_follows_torchs_multistep_schedule(epochs: int, milestones: tuple[float, ...]) -> None:
    recipe = Recipe(epochs=epochs, milestones=milestones)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.learning_rate)
    steps = [-(-round(fraction * 100) * epochs // 100) for fraction in milestones]  # rounded up, in whole numbers
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, steps, gamma=recipe.learning_rate_factor)
    for epoch in range(1, epochs + 1):
        assert learning_rate_at(recipe, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        schedule.step()


def test_medmnist_protocol_drops_after_50_and_75_epochs() -> None:
    rates = [learning_rate_at(Recipe(), epoch) for epoch in (1, 50, 51, 75, 76, 100)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


@pytest.mark.parametrize(("epochs", "least"), [(1, 0.0), (9, 0.0), (40, 1e-4)])
def test_the_cosine_is_torchs(epochs: int, least: float) -> None:
    recipe = Recipe(epochs=epochs, schedule="cosine", learning_rate=5e-3, least_learning_rate=least)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=least)
    for epoch in range(1, epochs + 1):
        assert learning_rate_at(recipe, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_the_optimizer_is_the_recipes() -> None:
    layer = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(layer, Recipe(optimizer="sgd", learning_rate=5e-3, momentum=0.8, weight_decay=1e-5))
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (5e-3, 0.8, 1e-5)
    assert isinstance(make_optimizer(layer, Recipe()), torch.optim.Adam)


def test_the_task_has_its_checkpoint_metric() -> None:
    assert checkpoint_metric(Recipe(), "binary") == checkpoint_metric(Recipe(), "multi-label") == "auc"
    assert checkpoint_metric(Recipe(), "segmentation") == "dice"
    assert checkpoint_metric(Recipe(checkpoint_metric="accuracy"), "binary") == "accuracy"
    assert checkpoint_metrics(Recipe(), "multi-label") == ("auc", "macro_f1", "exact_match")
    assert checkpoint_metrics(Recipe(checkpoint_metric="exact_match, macro_f1"), "binary") == (
        "exact_match",
        "macro_f1",
    )


@pytest.mark.parametrize("names", ["", "auc,", "auc,auc", ("auto", "auc"), ()])
def test_checkpoint_metrics_are_named_once_each(names: str | tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="named once each"):
        Recipe(checkpoint_metric=names)


def test_every_setting_is_described_and_survives_json() -> None:
    schema = TypeAdapter(Recipe).json_schema()["properties"]
    assert all("description" in field for field in schema.values())
    recipe = Recipe(epochs=3, early_stop_patience=None)
    adapter = TypeAdapter(Recipe)
    assert adapter.validate_python(adapter.dump_python(recipe, mode="json")) == recipe


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"learning_rate": 0},
        {"momentum": 1.0},
        {"class_weights": "some"},
        {"patch_size": 0},
        {"patch_size": (16, 0)},
        {"patch_size": ()},
        {"schedule": "cosine", "least_learning_rate": 1.0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Recipe).validate_python(wrong)


@pytest.mark.parametrize("milestones", [(0.75, 0.5), (0.0,), (1.5,)])
def test_milestones_rise_within_the_training(milestones: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="milestones"):
        Recipe(milestones=milestones)


@pytest.mark.parametrize(
    ("cases", "passes"), [(8, 15), (9, 8), (16, 8), (119, 1), (120, 1), (112, 2), (105, 2), (1000, 1)]
)
def test_an_epoch_has_at_least_so_many_steps_in_whole_passes(cases: int, passes: int) -> None:
    recipe = Recipe(batch_size=8, least_steps=15)
    assert passes_per_epoch(recipe, cases) == passes
    steps_of_a_pass = -(-cases // 8)
    assert passes * steps_of_a_pass >= 15 > (passes - 1) * steps_of_a_pass or passes == 1
