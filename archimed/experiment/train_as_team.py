"""What the other processes of a team do: they join the trainings to which the first one, which leads, invites them."""

from contextlib import suppress
from pathlib import Path

from archimed.experiment.networks import build_network
from archimed.experiment.pipeline import open_bench
from archimed.experiment.progress import Silent
from archimed.experiment.settings import experiment_from_document
from archimed.experiment.train_stage import Invitation, described, training_seed
from archimed.experiment.training_task import training_task
from archimed.experiment.workbench import Workbench
from archimed.runs import RunDirectory
from archimed.training.loop import join
from archimed.training.progress import TrainingError
from archimed.training.team import Team


def follow(team: Team) -> None:
    """Join trainings until the first process sends None; nothing is written or said."""
    benches: dict[Path, Workbench] = {}
    while (invitation := team.receive()) is not None:
        if invitation.run not in benches:
            benches[invitation.run] = opened(invitation.run)
        with suppress(TrainingError):  # the first process tells of it
            take_part(benches[invitation.run], invitation)


def opened(path: Path) -> Workbench:
    """The run as the first process recorded it."""
    run = RunDirectory(path)
    return open_bench(run, experiment_from_document(run.read_experiment()), Silent())


def take_part(bench: Workbench, invitation: Invitation) -> None:
    """Train the network of an invitation with the others."""
    job, recipe = invitation.job, invitation.recipe
    dataset = bench.datasets(recipe.image_size)[job.repeat.dataset]
    seed = training_seed(job.repeat)
    join(
        build_network(described(bench, job, recipe), seed, job.selection.space),
        dataset.subset(dataset.folds[job.repeat.fold].train),
        bench.normalisation(dataset, job.repeat.fold),
        task=training_task(dataset, recipe, job.repeat.fold),
        recipe=recipe,
        seed=seed,
        machine=bench.machine,
        team=bench.team,
        begun=invitation.begun,
    )
