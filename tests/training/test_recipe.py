import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from archimed.training.recipe import Recipe, learning_rate_at


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


def test_every_setting_is_described_and_survives_json() -> None:
    schema = TypeAdapter(Recipe).json_schema()["properties"]
    assert all("description" in field for field in schema.values())
    recipe = Recipe(epochs=3, early_stop_patience=None)
    adapter = TypeAdapter(Recipe)
    assert adapter.validate_python(adapter.dump_python(recipe, mode="json")) == recipe


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": 0}, {"momentum": 1.0}, {"class_weights": "some"}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Recipe).validate_python(wrong)


@pytest.mark.parametrize("milestones", [(0.75, 0.5), (0.0,), (1.5,)])
def test_milestones_rise_within_the_training(milestones: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="milestones"):
        Recipe(milestones=milestones)
