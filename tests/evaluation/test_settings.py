"""The settings `evaluation.*` refuse what cannot hold."""

import dataclasses

import pytest
from pydantic import ValidationError

from archimed.evaluation.settings import EvaluationSettings


def test_defaults_hold_and_every_field_is_described():
    settings = EvaluationSettings()
    assert (settings.resamples, settings.confidence, settings.required_sensitivity) == (1000, 0.95, None)
    for field in dataclasses.fields(EvaluationSettings):
        assert EvaluationSettings.__pydantic_fields__[field.name].description


@pytest.mark.parametrize("change", [{"resamples": 10}, {"confidence": 95}, {"required_sensitivity": 0}, {"small": 1}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValidationError):
        EvaluationSettings(**change)


def test_the_bounds_of_lesion_sizes_must_be_in_order():
    with pytest.raises(ValidationError, match="Swap"):
        EvaluationSettings(small_lesion=0.02)
