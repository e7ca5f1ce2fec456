"""Which networks of a run begin with the weights of `training.initial_weights`: those that the file fits."""

from archimed.experiment.networks import architecture_document, build_network
from archimed.experiment.search_stage import baselines_of
from archimed.experiment.training_task import training_task
from archimed.experiment.workbench import Workbench
from archimed.methods.baselines import fixed_baseline, fixed_networks, typical_spacing
from archimed.methods.protocol import Selection
from archimed.networks.fitted import Fitted
from archimed.training.initial_weights import misfit, misfit_error, read_weights, renamed, same_names


def check_initial_weights(bench: Workbench) -> None:
    """Read the file, and try it on the fixed networks of the run, before anything is searched.

    A file that fits none of them may fit what will be found; but if it has the tensors of one of them, in other
    shapes, it was meant for that one.

    Raises:
        SettingsError: it cannot be read, or has a tensor of another shape.
    """
    path = bench.experiment.method.training.initial_weights
    if path is None:
        return
    read_weights(path)
    dataset = bench.training_data
    fixed = fixed_networks(dataset.task)
    meant = []
    for name in baselines_of(bench.experiment, dataset.task):
        if name in fixed:
            fact, likely = trial(bench, fixed_baseline(name, dataset.task, typical_spacing(dataset)))
            if fact is None:
                return
            meant += [fact] if likely else []
    if meant:
        raise misfit_error(path, meant[0])


def trial(bench: Workbench, selection: Selection, dataset_number: int = 0, fold: int = 0) -> tuple[str | None, bool]:
    """Why a network cannot begin with the weights, None if it can; and whether the tensors have its names."""
    recipe = bench.experiment.method.training
    if recipe.initial_weights is None:
        return None, False
    dataset = bench.training_sets[dataset_number]
    task = training_task(dataset, recipe, fold)
    document = architecture_document(selection, task, bench.normalisation(dataset, fold), recipe.members)
    network = build_network(document, 0, selection.space)
    if isinstance(network, Fitted):
        return "it is fitted in one go", False
    given = renamed(read_weights(recipe.initial_weights), network.state_dict())
    return misfit(network, given, task.num_outputs), same_names(network, given, task.num_outputs)
