"""What the stages of one run share: its folder, settings, data, machine and the ear of the user."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from archimed.data.dataset import Dataset
from archimed.data.normalisation import Normalisation, fit_normalisation
from archimed.data.source import load_dataset
from archimed.errors import SettingsError
from archimed.experiment.progress import Observer
from archimed.experiment.settings import Experiment
from archimed.runs import RunDirectory
from archimed.training.machine import Machine


@dataclass(frozen=True)
class Repeat:
    """One fold and seed: everything searched, trained and evaluated together."""

    fold: int
    seed: int


@dataclass
class Workbench:
    """One run while it is worked on. Datasets are read, and normalisations fitted, once per image size."""

    run: RunDirectory
    experiment: Experiment
    observer: Observer
    machine: Machine
    loaded: dict[int | None, Dataset] = field(default_factory=dict)
    fitted: dict[tuple[tuple[int, ...], int], Normalisation] = field(default_factory=dict)

    def dataset(self, image_size: int | None) -> Dataset:
        """The run's data at an image size in pixels per axis; None for the size they have."""
        if image_size not in self.loaded:
            self.loaded[image_size] = read_data(self.experiment, image_size)
        return self.loaded[image_size]

    @property
    def search_data(self) -> Dataset:
        """The data at the image size of the search."""
        return self.dataset(self.experiment.method.search.image_size)

    @property
    def training_data(self) -> Dataset:
        """The data at the image size of training and evaluation."""
        return self.dataset(self.experiment.method.training.image_size)

    def repeats(self) -> Iterator[Repeat]:
        """Every fold with every seed."""
        for fold in range(len(self.training_data.folds)):
            for seed in self.experiment.seeds:
                yield Repeat(fold, seed)

    def normalisation(self, dataset: Dataset, fold: int) -> Normalisation:
        """The normalisation of a fold, fitted on its training part only."""
        key = (dataset.task.image_size, fold)
        if key not in self.fitted:
            training = dataset.subset(dataset.folds[fold].train)
            self.fitted[key] = fit_normalisation(dataset, training, self.experiment.data)
        return self.fitted[key]


def read_data(experiment: Experiment, image_size: int | None) -> Dataset:
    """Load the one data source of a run.

    Raises:
        SettingsError: the method mixes no data sets, and several are given.
        DataError: the data cannot be used.
    """
    if len(experiment.sources) != 1:
        raise SettingsError(
            f"{experiment.method.name} takes one --data; got {len(experiment.sources)}. Run it once for each data set."
        )
    return load_dataset(experiment.sources[0], experiment.data, experiment.seed, image_size)
