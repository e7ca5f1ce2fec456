"""The loop of a bilevel search: steps on weights and alpha, a validation per epoch, exact resumption."""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from archimed.errors import SearchError
from archimed.methods.bilevel_data import SearchData
from archimed.methods.bilevel_found import Found, fingerprint, found_again, picked
from archimed.methods.bilevel_state import SearchEpoch, SearchFolder, SearchState
from archimed.methods.protocol import Journal
from archimed.methods.supernet_memory import build_supernet, settle_memory
from archimed.seeding import torch_generator, torch_seed
from archimed.spaces.protocol import RelaxableSpace
from archimed.strategies.bilevel import BilevelSettings, GoOn, Learner, Load, Memory, learning_rate_at
from archimed.strategies.mixtures import SKIP, count_skips, draw_alpha, entropies, mixture_of, share_of
from archimed.training.steps import refuse_batches_of_one


class NotFiniteError(Exception):
    """A loss or alpha that is not a number."""


class OutOfMemoryError(Exception):
    """The GPU has no memory for a step."""


def search_bilevel(space: RelaxableSpace, settings: BilevelSettings, data: SearchData, journal: Journal) -> Found:
    """Let the weights of the space's supernet and alpha learn in turn, and pick an epoch on the validation part.

    A search that was cut off at any moment is simply begun again with the same journal; it gives the alpha of an
    unbroken one, on a CPU to the bit. One completed there before is returned at once.

    Args:
        space: gives the supernet.
        settings: `search.*`.
        data: what weights and alpha learn from, and what judges them.
        journal: where the state is kept, and who hears of epochs.

    Raises:
        SearchError: a loss was not a number, or the time was over, before one epoch in which alpha learns; or a GPU
            has no memory for half the batch size.
        SettingsError: batches of one with batch normalisation, or a supernet that does not fit into memory.
        DataError: fewer than two patients, or no validation images.
        RunError: the folder belongs to a search with other settings.
    """
    with ExitStack() as stack:
        folder = journal.folder or Path(stack.enter_context(TemporaryDirectory()))
        kept = SearchFolder(folder, fingerprint(space, settings, data))
        if finished := kept.finished():
            return found_again(finished)
        stack.enter_context(data.problem.machine.session())
        return _Search(space, settings, data, journal, kept).run()


class _Search:
    """One search under way."""

    def __init__(
        self, space: RelaxableSpace, settings: BilevelSettings, data: SearchData, journal: Journal, folder: SearchFolder
    ) -> None:
        self.space, self.settings, self.data = space, settings, data
        self.problem = data.problem
        self.journal, self.folder = journal, folder
        self.sizes = data.sizes

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

        chosen = memory or settle_memory(self.space, settings, self.data, caution)
        supernet = build_supernet(self.space, problem.task, settings, chosen, problem.seed, self.data.further_tasks)
        size = batch_size or settings.batch_size
        refuse_batches_of_one(supernet, min(size, *self.sizes), "search.batch_size")
        problem.machine.place_network(supernet)
        alpha = draw_alpha(self.space.mixed_choices, torch_generator(problem.seed, "alpha"))
        architecture = settings.architecture_step(alpha, problem.task, problem.seed)
        learner = Learner.of(supernet, architecture, settings, self.data.batch_loss)
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
        losses: list[tuple[int, Tensor, Tensor | None]] = []
        steps = self.data.steps(epoch, state.batch_size)
        learning = epoch > self.settings.warmup_epochs
        dealt = learner.architecture.dealt([load for _, load in steps]) if learning else [()] * len(steps)
        with torch_seed(problem.seed, "bilevel", epoch, "layers"):
            for number, step in enumerate(steps, start=1):
                if self.journal.stop():
                    break
                tell = partial(self._tell, state, number - 1, len(steps))
                losses.append(self._step(learner, epoch, (step[0], dealt[number - 1]), tell))
                tell(1.0)
        if not losses:
            return None
        return self._record(state, epoch, _read(losses, epoch), len(losses) == len(steps), started)

    def _tell(self, state: SearchState, done: int, steps: int, share: float) -> bool:
        """Tell how many steps of the epoch under way are done, and the share of the next; whether to go on."""
        at = len(state.records) + (done + share) / steps
        self.journal.progress(round(at, 3), self.settings.epochs, _note(state.records))
        return share == 1 or not self.journal.stop()

    def _step(
        self, learner: Learner, epoch: int, loads: tuple[Load, Sequence[Load]], go_on: GoOn
    ) -> tuple[int, Tensor, Tensor | None]:
        """One step on the weights and, with batches for it, one on alpha; the images of the first, and both losses.

        The losses stay on the device until the epoch is over, as reading one waits for a GPU.
        """
        try:
            weight_batch = loads[0]()
            losses = learner.learn(weight_batch, loads[1], go_on)
        except torch.cuda.OutOfMemoryError:
            raise OutOfMemoryError from None
        if not all(math.isfinite(number) for numbers in learner.alpha.values() for number in numbers.tolist()):
            raise NotFiniteError(f"Alpha was not a number in epoch {epoch}")
        return len(weight_batch), *losses

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
        try:
            validation_loss, validation = self.data.validate(state.learner.supernet, mixture)
        except torch.cuda.OutOfMemoryError:
            raise OutOfMemoryError from None
        on_alpha = [loss for _, _, loss in losses if loss is not None]
        choices = self.space.mixed_choices
        entropy, kind_entropy = entropies(mixture)
        return SearchEpoch(
            epoch=epoch,
            learning_rate=learning_rate_at(self.settings, epoch),
            batch_size=state.batch_size,
            weight_loss=sum(count * loss for count, loss, _ in losses) / sum(count for count, _, _ in losses),
            architecture_loss=sum(on_alpha) / len(on_alpha) if on_alpha else None,
            validation_loss=_finite(validation_loss, epoch),
            validation=validation,
            skip_share=share_of(SKIP, mixture, choices),
            zero_share=share_of("zero", mixture, choices),
            entropy=entropy,
            kind_entropy=kind_entropy,
            skips=count_skips(self.space.derive(mixture), self.space.choices),
            alpha={name: numbers.detach().tolist() for name, numbers in state.learner.alpha.items()},
            architecture=state.learner.architecture.told(),
            complete=complete,
            seconds=time.perf_counter() - started,
        )

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
            "epochs": [record.to_dict() for record in state.records],
            "cautions": state.cautions,
        }
        self.folder.finish(result)
        return found_again(result)


def _read(losses: Sequence[tuple[int, Tensor, Tensor | None]], epoch: int) -> list[tuple[int, float, float | None]]:
    """The losses of an epoch as numbers, read from the device at once."""
    on_weights = torch.stack([loss for _, loss, _ in losses]).tolist()
    there = [loss for _, _, loss in losses if loss is not None]
    on_alpha = iter(torch.stack(there).tolist() if there else [])
    return [
        (count, _finite(value, epoch), None if loss is None else _finite(next(on_alpha), epoch))
        for (count, _, loss), value in zip(losses, on_weights, strict=True)
    ]


def _finite(loss: Tensor | float, epoch: int) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise NotFiniteError(f"The loss was not a number in epoch {epoch}")
    return value


def _note(records: Sequence[SearchEpoch]) -> str:
    if not records:
        return "epochs"
    figures = (
        f"{name} {'undefined' if value is None else f'{value:.3f}'}" for name, value in records[-1].validation.items()
    )
    return f"epochs, validation {', '.join(figures)}"
