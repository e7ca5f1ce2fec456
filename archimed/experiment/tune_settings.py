"""The settings `tune.*`: how many settings of training are tried for every network, and which."""

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TuneSettings:
    """Settings of training that are searched for each network, on validation; the recipe's own are always tried first.

    The study tried batches of 32, 64 and 128, learning rates of 0.01 and 0.001, and images of 64 and 128 pixels (X-ray
    study, Sec. 3.5 and Table 1).
    """

    trials: int = Field(
        default=0, ge=0, le=1000, description="settings tried for every network in every fold; 0 trains by the recipe"
    )
    epochs: int | None = Field(
        default=None, ge=1, description="epochs of each trial at most; none takes those of the training"
    )
    batch_sizes: tuple[int, ...] = Field(
        default=(32, 64, 128), min_length=1, description="images per step to try (X-ray study, Table 1)"
    )
    learning_rates: tuple[float, float] = Field(
        default=(1e-4, 1e-2),
        description="lowest and highest learning rate to try, on a logarithmic scale (ours, about those of the X-ray "
        "study's Table 1)",
    )
    weight_decays: tuple[float, ...] = Field(
        default=(0.0, 1e-5, 1e-4, 1e-3), min_length=1, description="L2 penalties to try (ours)"
    )
    image_sizes: tuple[int, ...] = Field(
        default=(),
        description="pixels per axis to try; without any the size of the training and half of it, if that is 32 or "
        "more (X-ray study, Table 1: 64 and 128). Of masks no other size is tried",
    )

    @model_validator(mode="after")
    def _within_reason(self) -> "TuneSettings":
        low, high = self.learning_rates
        if not 0 < low < high:
            raise ValueError(f"learning_rates are two rising numbers above 0; got {low:g} and {high:g}")
        if min(self.batch_sizes) < 2:
            raise ValueError(f"batch_sizes are 2 or more; got {min(self.batch_sizes)}")
        if min(self.weight_decays) < 0:
            raise ValueError(f"weight_decays are 0 or more; got {min(self.weight_decays):g}")
        if self.image_sizes and min(self.image_sizes) < 8:
            raise ValueError(f"image_sizes are 8 or more; got {min(self.image_sizes)}")
        return self
