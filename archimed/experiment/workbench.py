"""What the stages of one run share: its folder, settings, data, machine and the ear of the user."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from archimed.data.dataset import Dataset
from archimed.data.inspection.describe import look
from archimed.data.inspection.survey import Survey
from archimed.data.normalisation import Normalisation, fit_normalisation
from archimed.experiment.progress import Observer
from archimed.experiment.settings import Experiment
from archimed.experiment.sources import read_datasets
from archimed.methods.protocol import data_sets_of
from archimed.runs import RunDirectory
from archimed.training.machine import Machine
from archimed.training.team import ALONE, Team


@dataclass(frozen=True)
class Repeat:
    """One fold and seed of one data set, by its place in the run: what is trained and evaluated together."""

    fold: int
    seed: int
    dataset: int = 0


@dataclass
class Workbench:
    """One run while it is worked on. Data are read, and normalisations fitted, once per image size."""

    run: RunDirectory
    experiment: Experiment
    observer: Observer
    machine: Machine
    team: Team = ALONE
    loaded: dict[tuple[int | None, bool], tuple[Dataset, ...]] = field(default_factory=dict)
    surveys: tuple[Survey, ...] = ()
    fitted: dict[tuple[str, int, tuple[int, ...], int], Normalisation] = field(default_factory=dict)

    def datasets(self, image_size: int | None, together: bool = False) -> tuple[Dataset, ...]:
        """The run's data sets at an image size in pixels per axis, None for the size they have.

        `together` brings them to the same channels, and refuses sizes that differ.
        """
        key = image_size, together and self.has_several
        if key not in self.loaded:
            self.loaded[key] = read_datasets(self.experiment, image_size, together=key[1])
        return self.loaded[key]

    def dataset(self, image_size: int | None) -> Dataset:
        """The run's first data set at an image size; the only one of most runs."""
        return self.datasets(image_size)[0]

    @property
    def has_several(self) -> bool:
        """Whether the run has several data sets."""
        return len(self.experiment.sources) > 1

    @property
    def searches_together(self) -> bool:
        """Whether one search sees all data sets."""
        return data_sets_of(self.experiment.method) == "together" and not self.experiment.architecture

    @property
    def one_for_all(self) -> bool:
        """Whether one architecture is for all data sets: of a search that sees all, or of another run."""
        return self.searches_together or self.experiment.architecture is not None

    @property
    def search_sets(self) -> tuple[Dataset, ...]:
        """The data sets as the search sees them."""
        return self.datasets(self.experiment.method.search.image_size, self.searches_together)

    @property
    def training_sets(self) -> tuple[Dataset, ...]:
        """The data sets as training and evaluation see them."""
        return self.datasets(self.experiment.method.training.image_size)

    @property
    def search_data(self) -> Dataset:
        """The first data set at the image size of the search."""
        return self.search_sets[0]

    @property
    def training_data(self) -> Dataset:
        """The first data set at the image size of training and evaluation."""
        return self.training_sets[0]

    def data_of(self, repeat: Repeat) -> Dataset:
        """The data set of a repeat at the image size of training and evaluation."""
        return self.training_sets[repeat.dataset]

    def scope(self, dataset: int) -> str | None:
        """What names a data set in the files of a run of several; None in a run of one."""
        return self.training_sets[dataset].name if self.has_several else None

    def looked(self) -> tuple[Survey, ...]:
        """What every image and mask of training and evaluation holds, looked at once."""
        self.surveys = self.surveys or tuple(look(dataset) for dataset in self.training_sets)
        return self.surveys

    def repeats(self) -> Iterator[Repeat]:
        """Every fold with every seed, data set by data set."""
        for number, dataset in enumerate(self.training_sets):
            for fold in range(len(dataset.folds)):
                for seed in self.experiment.seeds:
                    yield Repeat(fold, seed, number)

    def searches(self) -> list[Repeat]:
        """Every search: each repeat, or if one architecture is for all data sets those of the first."""
        return [repeat for repeat in self.repeats() if not (self.one_for_all and repeat.dataset)]

    def normalisation(self, dataset: Dataset, fold: int) -> Normalisation:
        """The normalisation of a fold, fitted on its training part only."""
        key = (dataset.name, dataset.task.channels, dataset.task.image_size, fold)
        if key not in self.fitted:
            training = dataset.subset(dataset.folds[fold].train)
            self.fitted[key] = fit_normalisation(dataset, training, self.experiment.data)
        return self.fitted[key]
