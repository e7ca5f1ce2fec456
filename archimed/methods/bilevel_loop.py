"""The loop of a bilevel search: two halves of the training cases in step, a validation per epoch, exact resumption."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from archimed.batch import Batch, target_loss
from archimed.data.halves import halves
from archimed.errors import DataError, SearchError
from archimed.evaluation.metrics import metrics
from archimed.methods.bilevel_found import Found, fingerprint, found_again, picked
from archimed.methods.bilevel_state import SearchEpoch, SearchFolder, SearchState
from archimed.methods.protocol import Journal, SearchProblem
from archimed.methods.supernet_memory import build_supernet, settle_memory
from archimed.seeding import torch_generator, torch_seed
from archimed.spaces.protocol import RelaxableSpace
from archimed.strategies.bilevel import BilevelSettings, Learner, Memory, learning_rate_at
from archimed.strategies.mixtures import SKIP, Mixture, count_skips, draw_alpha, entropy_of, mixture_of, share_of
from archimed.training.prediction import predict_logits, probabilities
from archimed.training.steps import NormalisedImages, batches, refuse_batches_of_one

VALIDATION_BATCH = 64


class NotFiniteError(Exception):
    """A loss or alpha that is not a number."""


class OutOfMemoryError(Exception):
    """The GPU has no memory for a step."""


def search_bilevel(
    space: RelaxableSpace,
    settings: BilevelSettings,
    problem: SearchProblem,
    journal: Journal,
    class_weights: Tensor | None = None,
) -> Found:
    """Let the weights of the space's supernet and alpha learn in turn, and pick an epoch on the validation part.

    A search that was cut off at any moment is simply begun again with the same journal; it gives the alpha of an
    unbroken one, on a CPU to the bit. One completed there before is returned at once.

    Args:
        space: gives the supernet.
        settings: `search.*`.
        problem: what may be seen of the data.
        journal: where the state is kept, and who hears of epochs.
        class_weights: of the loss; None if all weigh the same.

    Raises:
        SearchError: a loss was not a number, or the time was over, before one epoch in which alpha learns; or a GPU
            has no memory for half the batch size.
        SettingsError: batches of one with batch normalisation, or a supernet that does not fit into memory.
        DataError: fewer than two patients, or no validation images.
        RunError: the folder belongs to a search with other settings.
    """
    with ExitStack() as stack:
        folder = journal.folder or Path(stack.enter_context(TemporaryDirectory()))
        kept = SearchFolder(folder, fingerprint(space, settings, problem))
        if finished := kept.finished():
            return found_again(finished)
        stack.enter_context(problem.machine.session())
        return _Search(space, settings, problem, journal, kept, class_weights).run()


class _Search:
    """One search under way."""

    def __init__(
        self,
        space: RelaxableSpace,
        settings: BilevelSettings,
        problem: SearchProblem,
        journal: Journal,
        folder: SearchFolder,
        class_weights: Tensor | None,
    ) -> None:
        if not len(problem.validation):
            raise DataError("A search needs validation images to pick an epoch; there are none. Change the splits.")
        self.space, self.settings, self.problem = space, settings, problem
        self.journal, self.folder = journal, folder
        machine = problem.machine
        self.class_weights = None if class_weights is None else class_weights.to(machine.device)
        parts = halves(problem.train, problem.patients, problem.task, problem.seed, "architecture")
        self.halves = tuple(NormalisedImages(part, problem.normalise, machine) for part in parts)
        self.validation = NormalisedImages(problem.validation, problem.normalise, machine)

    def run(self) -> Found:
        state = self.folder.restore(self._make, self.journal.say)
        self.journal.restore_epochs([record.to_dict() for record in state.records])
        while not self._is_over(state.records):
            fits = True
            try:
                record = self._epoch(state, len(state.records) + 1)
            except NotFiniteError as error:
                self._end_early(state, str(error))
                break
            except OutOfMemoryError:
                fits = False
            if not fits:  # only now, for the exception holds on to the features of the step
                state = self._with_half_the_batch(state)
                continue
            if record is None:
                break
            state.records.append(record)
            self.folder.save(state)
            self.journal.record_epoch(record.to_dict())
        return self._finish(state)

    def _make(self, memory: Memory | None, batch_size: int | None) -> SearchState:
        """The state before the first epoch."""
        problem, settings = self.problem, self.settings
        cautions: list[str] = []

        def caution(sentence: str) -> None:
            cautions.append(sentence)
            self.journal.say(sentence)

        chosen = memory or settle_memory(self.space, settings, problem, caution)
        supernet = build_supernet(self.space, problem.task, settings, chosen, problem.seed)
        size = batch_size or settings.batch_size
        refuse_batches_of_one(supernet, min(size, *map(len, self.halves)), "search.batch_size")
        problem.machine.place_network(supernet)
        alpha = draw_alpha(self.space.mixed_choices, torch_generator(problem.seed, "alpha"))
        learner = Learner.of(supernet, alpha, settings, self.class_weights, problem.machine.autocast)
        return SearchState(learner, chosen, size, cautions=cautions)

    def _is_over(self, records: Sequence[SearchEpoch]) -> bool:
        if not records:
            return False
        last = records[-1]
        return last.epoch >= self.settings.epochs or not last.complete or self._has_collapsed(last)

    def _has_collapsed(self, record: SearchEpoch) -> bool:
        limit = self.settings.stop_at_skips
        return limit is not None and record.epoch > self.settings.warmup_epochs and record.skips >= limit

    def _epoch(self, state: SearchState, epoch: int) -> SearchEpoch | None:
        """One epoch; None if the time is over before its first step."""
        started = time.perf_counter()
        learner, problem = state.learner, self.problem
        learner.begin_epoch(epoch)
        learner.supernet.train()
        losses: list[tuple[int, float, float | None]] = []
        pairs = self._pairs(state.batch_size, epoch)
        with torch_seed(problem.seed, "bilevel", epoch, "layers"):
            for step, (weight_cases, architecture_cases) in enumerate(pairs):
                if self.journal.stop():
                    break
                losses.append((len(weight_cases), *self._step(learner, epoch, weight_cases, architecture_cases)))
                done = round(epoch - 1 + (step + 1) / len(pairs), 3)
                self.journal.progress(done, self.settings.epochs, _note(state.records))
        if not losses:
            return None
        return self._record(state, epoch, losses, len(losses) == len(pairs), started)

    def _pairs(self, batch_size: int, epoch: int) -> list[tuple[Tensor, Tensor]]:
        """The cases of every step: the weight half once, in a random order, and the architecture half in step."""
        orders = [
            self._batches(half, batch_size, epoch, name)
            for half, name in zip((0, 1), ("weights", "alpha"), strict=True)
        ]
        weights = list(next(orders[0]))
        architecture = (cases for order in orders[1] for cases in order)
        return [(cases, next(architecture)) for cases in weights]

    def _batches(self, half: int, batch_size: int, epoch: int, name: str) -> Iterator[Iterator[Tensor]]:
        """Batches of one random order of a half after the other."""
        again = 0
        while True:
            generator = torch_generator(self.problem.seed, "bilevel", epoch, name, again)
            yield batches(torch.randperm(len(self.halves[half]), generator=generator), batch_size)
            again += 1

    def _step(
        self, learner: Learner, epoch: int, weight_cases: Tensor, architecture_cases: Tensor
    ) -> tuple[float, float | None]:
        """One step on alpha, unless warming up, then one on the weights; their losses."""
        weight_batch = Batch(*self.halves[0].batch(weight_cases))
        architecture_loss = None
        try:
            if epoch > self.settings.warmup_epochs:
                batch = Batch(*self.halves[1].batch(architecture_cases))
                architecture_loss = _finite(learner.learn_architecture(batch, weight_batch), epoch)
                if not all(bool(numbers.isfinite().all()) for numbers in learner.alpha.values()):
                    raise NotFiniteError(f"Alpha was not a number in epoch {epoch}")
            return _finite(learner.learn_weights(weight_batch), epoch), architecture_loss
        except torch.cuda.OutOfMemoryError:
            raise OutOfMemoryError from None

    def _record(
        self,
        state: SearchState,
        epoch: int,
        losses: Sequence[tuple[int, float, float | None]],
        complete: bool,
        started: float,
    ) -> SearchEpoch:
        with torch.no_grad():
            mixture = mixture_of(state.learner.alpha)
        validation_loss, validation = self._validate(state.learner.supernet, mixture, epoch)
        on_alpha = [loss for _, _, loss in losses if loss is not None]
        choices = self.space.mixed_choices
        return SearchEpoch(
            epoch=epoch,
            learning_rate=learning_rate_at(self.settings, epoch),
            batch_size=state.batch_size,
            weight_loss=sum(count * loss for count, loss, _ in losses) / sum(count for count, _, _ in losses),
            architecture_loss=sum(on_alpha) / len(on_alpha) if on_alpha else None,
            validation_loss=validation_loss,
            validation=validation,
            skip_share=share_of(SKIP, mixture, choices),
            zero_share=share_of("zero", mixture, choices),
            entropy=entropy_of(mixture),
            skips=count_skips(self.space.derive(mixture), self.space.choices),
            alpha={name: numbers.detach().tolist() for name, numbers in state.learner.alpha.items()},
            complete=complete,
            seconds=time.perf_counter() - started,
        )

    def _validate(self, supernet: nn.Module, mixture: Mixture, epoch: int) -> tuple[float, dict[str, float | None]]:
        images, task = self.validation, self.problem.task
        network = _WithMixture(supernet, mixture)
        try:
            logits = predict_logits(network, images.images, images.normalise, self.problem.machine, VALIDATION_BATCH)
        except torch.cuda.OutOfMemoryError:
            raise OutOfMemoryError from None
        weights = None if self.class_weights is None else self.class_weights.cpu()
        loss = _finite(target_loss(logits, images.target, weights), epoch)
        measured = metrics(task, images.target.numpy(), probabilities(logits, task.kind).numpy())
        return loss, {"auc": measured["auc"]}

    def _end_early(self, state: SearchState, reason: str) -> None:
        if not self._pickable(state.records):
            raise SearchError(
                f"A search needs losses that are numbers; {reason[0].lower()}{reason[1:]}, before alpha had learnt for "
                "an epoch. Lower search.learning_rate or check the images."
            )
        self._caution(state, f"{reason}; the search ends with epoch {state.records[-1].epoch}.")

    def _with_half_the_batch(self, state: SearchState) -> SearchState:
        """The state of the last complete epoch, to go on with half the batch size; once."""
        size = state.batch_size
        device = self.problem.machine.device
        free, whole = torch.cuda.mem_get_info(device) if torch.cuda.is_available() else (0, 0)
        numbers = f"{free / 2**30:.1f} of {whole / 2**30:.1f} GiB of {device} are free, search.memory is {state.memory}"
        if size < self.settings.batch_size or size < 2:
            raise SearchError(
                f"A step of the supernet must fit into memory; batch size {size} does not ({numbers}). Set "
                "search.memory=checkpoint or partial, or lower search.width, search.image_size or search.batch_size."
            )
        del state
        torch.cuda.empty_cache()
        restored = self.folder.restore(self._make, self.journal.say)
        restored.batch_size = size // 2
        refuse_batches_of_one(restored.learner.supernet, restored.batch_size, "search.batch_size, halved for memory,")
        self._caution(
            restored, f"Batch size {size} did not fit into memory ({numbers}); the search goes on with {size // 2}."
        )
        return restored

    def _caution(self, state: SearchState, sentence: str) -> None:
        state.cautions.append(sentence)
        self.journal.say(sentence)

    def _pickable(self, records: Sequence[SearchEpoch]) -> list[SearchEpoch]:
        """Epochs in which alpha learnt, those before a collapse if there are any."""
        learnt = [record for record in records if record.epoch > self.settings.warmup_epochs]
        return [record for record in learnt if not self._has_collapsed(record)] or learnt

    def _finish(self, state: SearchState) -> Found:
        records = self._pickable(state.records)
        if not records:
            raise SearchError(
                "A search picks among epochs in which alpha learns; the time was over before one of them. "
                "Give it more time (--budget)."
            )
        last = state.records[-1]
        if self._has_collapsed(last):
            self._caution(
                state,
                f"The derived normal cell had {last.skips} skip connections in epoch {last.epoch}, so the search "
                "stopped (search.stop_at_skips).",
            )
        if not last.complete or (last.epoch < self.settings.epochs and self.journal.stop()):
            self._caution(state, f"The time budget ended the search in epoch {last.epoch} of {self.settings.epochs}.")
        best = picked(records, self.settings.pick_by)
        result = {
            "epoch": best.epoch,
            "validation_loss": best.validation_loss,
            "validation": dict(best.validation),
            "alpha": dict(best.alpha),
            "cautions": state.cautions,
        }
        self.folder.finish(result)
        return found_again(result)


class _WithMixture(nn.Module):
    """A supernet as a network of images alone."""

    def __init__(self, supernet: nn.Module, mixture: Mixture) -> None:
        super().__init__()
        self.supernet = supernet
        self.mixture = dict(mixture)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.supernet(images, self.mixture)
        return logits


def _finite(loss: Tensor, epoch: int) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise NotFiniteError(f"The loss was not a number in epoch {epoch}")
    return value


def _note(records: Sequence[SearchEpoch]) -> str:
    if not records:
        return "epochs"
    auc = records[-1].validation.get("auc")
    return f"epochs, validation auc {'undefined' if auc is None else f'{auc:.3f}'}"
