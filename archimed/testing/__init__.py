"""The contracts of archimed's parts as functions, to run on a part of your own.

    def test_my_space() -> None:
        check_search_space(MySpace(), ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(28, 28)))

Each raises `ContractError` with the law that was broken, what was found and what to do about it.
"""

from archimed.errors import ContractError
from archimed.indicators.contract import check_indicator
from archimed.strategies.contract import check_strategy
from archimed.testing.datasets import check_dataset
from archimed.testing.methods import check_method
from archimed.testing.objectives import check_objective
from archimed.testing.operations import check_operation
from archimed.testing.spaces import check_relaxable_space, check_search_space

__all__ = [
    "ContractError",
    "check_dataset",
    "check_indicator",
    "check_method",
    "check_objective",
    "check_operation",
    "check_relaxable_space",
    "check_search_space",
    "check_strategy",
]
