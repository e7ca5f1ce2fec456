"""The written answers of networks of several runs, as the tests take them: in one order, and of one truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from archimed.errors import RunError, SettingsError
from archimed.evaluation.bootstrap import Bootstrap, RepeatPredictions, bootstrap_metrics, mean_over_data_sets
from archimed.evaluation.masks import RepeatMasks
from archimed.experiment.mask_predictions import SplitMasks
from archimed.experiment.predictions import Split, SplitPredictions, read_predictions
from archimed.experiment.repeats import thresholds_of
from archimed.files import read_json
from archimed.studies.gathering import Gathered, Member
from archimed.studies.run_files import RunFiles

SEED = 0  # of the resampling, one for all networks, so that differences are paired


@dataclass
class Answers:
    """Reads the answers of trainings, and sees to it that all were measured against the same truth.

    Attributes:
        runs: the runs that are compared; their test cases are the same.
        checkpoint: the metric by which the weights were kept whose answers are read; None takes each network's own.
        truths: data set and fold -> a run and its true labels, of the first training read.
    """

    runs: Sequence[RunFiles]
    checkpoint: str | None = None
    truths: dict[tuple[str, int], tuple[str, NDArray[np.float64]]] = field(default_factory=dict)

    def resampled(self, network: Gathered, resamples: int) -> Bootstrap:
        """The resampled test metrics of one network, the mean over the data sets where there are several.

        Raises:
            RunError: see `of`.
        """
        found = []
        for dataset in self.runs[0].data:
            patients = {case: patient for run in self.runs for case, patient in run.patients(dataset).items()}
            repeats = [self.of(member, patients) for member in network.members if member.dataset == dataset]
            task = self.runs[0].task(dataset)
            found.append(bootstrap_metrics(task, repeats, SEED, network.name, resamples, dataset))
        return mean_over_data_sets(found) if len(found) > 1 else found[0]

    def of(self, member: Member, patients: Mapping[str, str]) -> RepeatPredictions | RepeatMasks:
        """What one training answered to the test cases, in the order of their ids.

        Raises:
            RunError: the cases are not those that splits.json names, or have other true labels than in another run.
        """
        first, checkpoint = self.runs[0], self.checkpoint_of(member)
        task = first.task(member.dataset)
        split = in_order(read_predictions(member.folder.predictions_by(checkpoint), task)["test"])
        if isinstance(split, SplitPredictions) and (chosen := thresholds_of(member.folder, task, checkpoint)):
            split = replace(split, threshold=chosen)
        if list(split.cases) != first.test_cases(member.dataset)[member.fold]:
            raise RunError(
                f"Predictions are of the test cases that splits.json names; those of {member.folder.predictions} are "
                f"of others. Make them again with: archimed evaluate {member.run}"
            )
        self.check_truth(member, truth_of(split), split.cases)
        everyone = {case: patients.get(case, case) for case in split.cases}
        return split.tested(member.fold, member.seed, everyone)

    def checkpoint_of(self, member: Member) -> str | None:
        """What the files of the answers are named by: None for the network's own weights.

        Raises:
            SettingsError: no weights of the training were kept by that metric.
        """
        if self.checkpoint is None:
            return None
        kept = list(read_json(member.folder.training).get("checkpoints", {}))
        if self.checkpoint not in kept:
            raise SettingsError(
                f"--checkpoint is a metric by which all networks kept weights; {member.folder.path.parent.name} of "
                f"{member.run} has {', '.join(kept) or 'one alone'}, not {self.checkpoint!r}. Leave --checkpoint out."
            )
        return None if self.checkpoint == kept[0] else self.checkpoint

    def check_truth(self, member: Member, truth: NDArray[np.float64], cases: Sequence[str]) -> None:
        """RunError if the true labels differ from those of a training read before."""
        other, known = self.truths.setdefault((member.dataset, member.fold), (member.run, truth))
        same = (truth == known) | (np.isnan(truth) & np.isnan(known))
        if not same.all():
            row = int(np.argwhere(~same)[0][0])
            raise RunError(
                f"Compared runs have the same true labels; {other} and {member.run} differ: in {(~same).any(1).sum()} "
                f"of {len(cases)} test cases, {cases[row]} the first. Compare them apart."
            )


def truth_of(split: Split) -> NDArray[np.float64]:
    """The true labels [case, label]; of masks the true size of each class."""
    if isinstance(split, SplitMasks):
        return np.array([[one.true_size for one in scores] for scores in split.scores], dtype=np.float64)
    return split.target.astype(np.float64).reshape(len(split.cases), -1)


def in_order(split: Split) -> Split:
    """The same answers by case id."""
    order = np.argsort(np.array(split.cases), kind="stable")
    cases = tuple(split.cases[row] for row in order)
    if isinstance(split, SplitMasks):
        return replace(split, cases=cases, scores=tuple(split.scores[row] for row in order))
    return replace(split, cases=cases, target=split.target[order], probabilities=split.probabilities[order])
