"""The evaluation stage: predictions and metrics of every trained network. The test part is read here and only here."""

from archimed.data.dataset import Dataset, SplitName
from archimed.evaluation.medmnist import medmnist_metrics, write_medmnist_result
from archimed.experiment.answering import answered, distance_unit
from archimed.experiment.networks import load_network
from archimed.experiment.pictures import picture_cases
from archimed.experiment.predictions import Split, SplitPredictions, write_predictions
from archimed.experiment.train_stage import Job, check_own_network, jobs
from archimed.experiment.workbench import Workbench
from archimed.files import read_json, write_json

SPLITS: tuple[SplitName, ...] = ("validation", "test")


def evaluate(bench: Workbench) -> None:
    """Predict and measure every trained network; what was there before is overwritten, with the same figures.

    Raises:
        RunError: the method's own network is not trained.
    """
    every = [job for job in jobs(bench) if job.folder.training.exists() and job.folder.weights.exists()]
    check_own_network(bench, every, "Evaluation needs the trained networks")
    bench.observer.stage("evaluate")
    for number, job in enumerate(every, start=1):
        evaluate_one(bench, job)
        bench.observer.progress(number, len(every), "networks")
    picture_cases(bench, every)


def evaluate_one(bench: Workbench, job: Job) -> None:
    """Predictions, metrics and, for MedMNIST data, its official result files, of one network."""
    stored = load_network(job.folder, job.selection.space)
    dataset = bench.data_of(job.repeat)
    fold, settings = dataset.folds[job.repeat.fold], bench.experiment.evaluation
    splits = [answered(stored, dataset, fold.split(split), split, bench.machine, settings) for split in SPLITS]
    write_predictions(job.folder.predictions, stored.task, splits)
    training = read_json(job.folder.training)
    write_json(
        job.folder.metrics,
        {"best_epoch": training["best_epoch"], "seconds": training["seconds"]}
        | {split.split: split.metrics(stored.task) for split in splits}
        | ({"distance_unit": distance_unit(dataset)} if dataset.masks is not None else {})
        | ({"medmnist": official(job, dataset, splits)} if dataset.medmnist_flag else {}),
    )


def official(job: Job, dataset: Dataset, splits: list[Split]) -> dict[str, dict[str, float | None]]:
    """AUC and ACC as MedMNIST's own evaluator defines them, with its result files beside the predictions."""
    folder = job.folder.path / "medmnist"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    run = f"{job.selection.network}-fold{job.repeat.fold}-seed{job.repeat.seed}"
    result = {}
    for split in splits:
        if not isinstance(split, SplitPredictions):
            continue
        figures = medmnist_metrics(dataset.task, split.target, split.probabilities)
        flag = dataset.medmnist_flag or ""
        write_medmnist_result(folder, flag, split.split, run, probabilities=split.probabilities, figures=figures)
        result[split.split] = figures
    return result
