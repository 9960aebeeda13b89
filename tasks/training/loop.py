"""Training a network epoch by epoch: judged after each, kept on disk, resumed to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from tasks.errors import ParamsError, WorkspaceError
from tasks.metrics import IntVector
from tasks.params.training import TrainingParams
from tasks.reports.training import EpochScore
from tasks.stage import say
from tasks.training.ahead import prepared
from tasks.training.averaging import Average, copy_into, moving_tensors
from tasks.training.batches import SMALLEST_BATCH, Batches
from tasks.training.checkpoints import Checkpoints
from tasks.training.determinants import TrainingItems, training_key
from tasks.training.examples import Inputs
from tasks.training.freezing import Depth, digest_of, freeze, frozen_tensors, training_mode
from tasks.training.history import History, TrainingOutcome
from tasks.training.losses import class_weights, summed_loss
from tasks.training.network import Network
from tasks.training.parameter_groups import optimizer_of, set_rates
from tasks.training.precision import Numerics, deterministic, fabric_of, joined_processes, numerics_of
from tasks.training.schedules import Plateau, multiplier

OnStep = Callable[[int], None]
OnEpoch = Callable[[EpochScore], None]


def train(
    network: Network,
    depth: Depth,
    items: TrainingItems,
    settings: TrainingParams,
    *,
    folder: Path,
    determinants: Mapping[str, Any],
    until: int | None = None,
    multipliers: Sequence[float] | None = None,
    section: str = "adapt.method",
    on_step: OnStep = lambda count: None,
    on_epoch: OnEpoch = lambda score: None,
    spread: Callable[[], None] | None = None,
) -> TrainingOutcome:
    """Train a network in place; it is left on the CPU, in evaluation mode, with the chosen epoch's weights.

    A training that was ended in between goes on where its last whole epoch ended, and gives the same bits as one that
    was not; a finished one is found again and not computed.

    Args:
        folder: of all checkpoints; this training has one of its own in there, named by its digest.
        determinants: JSON-able; what determines the examples' inputs, and all else that the result depends on.
        until: last epoch, where that is earlier than the settings say; the schedule keeps its full length.
        multipliers: replaces what a plateau would multiply the rate by, for each epoch from 1 on; for a training
            that nothing judges, after others that were judged.
        section: of params.yaml, where the settings stand; for messages.
        on_step: hears of every step, how many items it took; the sum is epochs x passes x items, resumed or not.
        on_epoch: hears of every epoch's score, the start's first; those of a resumed or found training, too.
        spread: has several processes do this training, tells of it as it goes, and leaves its outcome in `folder`;
            called where the settings ask for processes and this is none of them.
    Raises:
        ParamsError: the loss or a weight became infinite or no number.
        ValueError: there are fewer multipliers than epochs.
        WorkspaceError: what several processes came to could not be kept.
    """
    numerics = numerics_of(settings)
    last = min(until or settings.epochs, settings.epochs)
    if multipliers is not None:
        if len(multipliers) < last:
            raise ValueError(f"{len(multipliers)} multipliers for {last} epochs")
        determinants = {**determinants, "multipliers": [float(one) for one in multipliers[:last]]}
    key = training_key(network, depth, items, settings, numerics, last, determinants)
    checkpoints = Checkpoints(folder / key)
    if spread and numerics.processes > joined_processes() and checkpoints.outcome() is None:
        spread()
        on_step = on_epoch = _heard_already
        if checkpoints.outcome() is None:
            raise WorkspaceError(
                f"what {numerics.processes} processes trained could not be kept in {folder}; free disk, or set "
                f"{section}.processes to 1, which needs no checkpoint"
            )
    with deterministic(numerics.device), torch.random.fork_rng():
        training = _Training(network, depth, items, settings, numerics, last, multipliers, section)
        before = digest_of(frozen_tensors(network, depth))
        outcome = training.run(checkpoints, on_step, on_epoch)
        network.cpu().to(memory_format=torch.contiguous_format).eval()
    if digest_of(frozen_tensors(network, depth)) != before:
        raise RuntimeError("training changed a frozen part of the network")
    return outcome


def _heard_already(_news: object) -> None:
    """What is told of a training whose processes told of it themselves."""


class _Training:
    """One training under way. `best` are the weights of the epoch to keep, on the CPU."""

    def __init__(
        self,
        network: Network,
        depth: Depth,
        items: TrainingItems,
        settings: TrainingParams,
        numerics: Numerics,
        last: int,
        multipliers: Sequence[float] | None = None,
        section: str = "adapt.method",
    ) -> None:
        self.depth, self.items, self.settings, self.numerics, self.last = depth, items, settings, numerics, last
        self.fabric: Fabric = fabric_of(numerics)
        self.batches = Batches(
            items.identities, items.labels, items.learn, settings, SMALLEST_BATCH * numerics.processes
        )
        freeze(network, depth)
        if numerics.memory_format == "channels_last":
            network.to(memory_format=torch.channels_last)
        self.optimizer = optimizer_of(network, settings, depth)
        self.model, self.stepper = self.fabric.setup(network, self.optimizer)
        self.network = network
        self.weights = self.fabric.to_device(
            class_weights(items.labels[items.learn], network.head.out_features, settings)
        )
        self.moving = moving_tensors(network, depth)
        self.average = Average(self.moving, settings.average) if settings.average else None
        self.plateau, self.multipliers, self.section = Plateau(settings), multipliers, section
        self.history = History()
        self.best: dict[str, torch.Tensor] = {}

    def run(self, checkpoints: Checkpoints, on_step: OnStep, on_epoch: OnEpoch) -> TrainingOutcome:
        finished = self.fabric.broadcast(checkpoints.outcome())
        if finished is None:
            self._resume(self.fabric.broadcast(checkpoints.state()))
            self._go_on(checkpoints, on_step, on_epoch)
            finished = {**self.history.record(), "judged": self.history.judged(), "weights": self._chosen_weights()}
            self._on_first(partial(checkpoints.finish, finished))
        else:
            self.history.load(finished)
            self._catch_up(on_step, on_epoch)
            on_step((self.last - self.history.last_epoch) * self._items_an_epoch())
        copy_into(self.moving, finished["weights"])
        return TrainingOutcome(
            history=self.history.scores,
            judged_logits=self.history.judged_logits(),
            chosen_epoch=self.history.best_epoch or self.history.last_epoch,
            stopped_early=self.history.last_epoch < self.last,
            numerics=self.numerics,
            multipliers=self.history.multipliers,
        )

    def _go_on(self, checkpoints: Checkpoints, on_step: OnStep, on_epoch: OnEpoch) -> None:
        if not self.history.scores:
            self._judge(0.0, None)
        self._catch_up(on_step, on_epoch)
        while self.history.last_epoch < self.last and not self.history.out_of_patience(self.settings.patience):
            loss = self._epoch(self.history.last_epoch + 1, on_step)
            best = self.best if self._judge(self.optimizer.param_groups[-1]["lr"], loss) else None
            self._on_first(partial(checkpoints.keep, self._state(), best, self.history.judged()))
            on_epoch(self.history.scores[-1])
        on_step((self.last - self.history.last_epoch) * self._items_an_epoch())

    def _catch_up(self, on_step: OnStep, on_epoch: OnEpoch) -> None:
        """Tell of the rows that are there already."""
        for score in self.history.scores:
            on_epoch(score)
        on_step(self.history.last_epoch * self._items_an_epoch())

    def _items_an_epoch(self) -> int:
        return len(self.items.learn) * self.settings.passes

    def _epoch(self, epoch: int, on_step: OnStep) -> float:
        """Learn from every item, `passes` times; the mean training loss, nats."""
        seed = f"{self.settings.seed} {epoch} {self.fabric.global_rank}"
        # Dropout and stochastic depth start anew in every epoch, so that a resumed one draws the same.
        torch.manual_seed(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little") >> 1)
        training_mode(self.network, self.depth)
        total, weight = torch.zeros((), device=self.fabric.device), 0.0
        beside = self.plateau.multiplier if self.multipliers is None else self.multipliers[epoch - 1]
        self.history.multipliers.append(float(beside))
        batches, steps = self._batches(epoch), self.batches.count * self.settings.passes
        inputs = prepared(partial(self.items.examples.inputs, self._share(rows), turn) for turn, rows in batches)
        for step, ((_, rows), given) in enumerate(zip(batches, inputs, strict=True), (epoch - 1) * steps):
            set_rates(self.optimizer, multiplier(self.settings, step, steps) * beside)
            labels = torch.from_numpy(self.items.labels[rows].astype(np.int64))
            rows_weight = float(self.weights.cpu()[labels].sum())
            total += self._step(rows, given, rows_weight)
            weight += rows_weight
            on_step(len(rows))
        self._synchronise()
        summed: Any = self.fabric.all_reduce(total, reduce_op="sum")
        loss = float(summed) / weight
        self._check(epoch, loss)
        return loss

    def _batches(self, epoch: int) -> list[tuple[int, IntVector]]:
        """Rows of each step with the number of the pass over all items, from 1 on, whose variants they are."""
        passes = self.settings.passes
        turns = range((epoch - 1) * passes + 1, epoch * passes + 1)
        return [(turn, rows) for turn in turns for rows in self.batches.of_epoch(turn)]

    def _step(self, rows: IntVector, given: Inputs, rows_weight: float) -> torch.Tensor:
        """The summed loss of this process' share of a batch; gradients are those of the whole batch's mean."""
        logits = self.model(*self._placed(given))
        targets = self.fabric.to_device(torch.from_numpy(self.items.labels[self._share(rows)].astype(np.int64)))
        loss = summed_loss(logits, targets, self.weights, self.settings.label_smoothing)
        self.fabric.backward(loss * (self.fabric.world_size / rows_weight))
        if self.settings.clip_norm is not None:
            self.fabric.clip_gradients(
                self.model, self.stepper, max_norm=self.settings.clip_norm, error_if_nonfinite=False
            )
        self.stepper.step()
        self.stepper.zero_grad()
        if self.average:
            self.average.update()
        return loss.detach()

    def _judge(self, rate: float, training_loss: float | None) -> bool:
        """Add a row to the history; whether its weights are the ones to keep so far."""
        rows = self.items.judge if self.items.judge is not None else np.zeros(0, dtype=np.int64)
        with self._averaged():
            logits = self.fabric.broadcast(self._logits(rows)) if len(rows) else torch.zeros(0, 0)
            score = self.history.add(rate, training_loss, logits, self.items.labels[rows])
            self._check(score.epoch, score.loss)
            better = score.epoch > 0 and score.epoch == self.history.best_epoch
            self.best = self._weights() if better else self.best
        telling = score.training_loss if score.loss is None else score.loss
        if telling is not None and score.epoch:
            self.plateau.judged(telling)
        return better

    @torch.no_grad()
    def _logits(self, rows: IntVector) -> torch.Tensor:
        """(rows, classes) float32 on the CPU, of unvaried images, in the numbers in which the network is served."""
        self.network.eval()
        parts = np.array_split(rows, range(self.settings.batch_size, len(rows), self.settings.batch_size))
        inputs = prepared(partial(self.items.examples.plain, part) for part in parts)
        return torch.cat([self.network(*self._placed(given)).cpu() for given in inputs])

    def _share(self, rows: IntVector) -> IntVector:
        """Which items of a batch this process learns from."""
        return rows[self.fabric.global_rank :: self.fabric.world_size]

    def _placed(self, inputs: Inputs) -> list[torch.Tensor]:
        wanted = torch.channels_last if self.numerics.memory_format == "channels_last" else torch.contiguous_format
        return [self.fabric.to_device(one.contiguous(memory_format=wanted) if one.ndim == 4 else one) for one in inputs]

    def _check(self, epoch: int, *losses: float | None) -> None:
        sound = all(np.isfinite(loss) for loss in losses if loss is not None)
        if not sound or not all(bool(tensor.isfinite().all()) for tensor in self.moving.values()):
            raise ParamsError(
                f"training diverged in epoch {epoch}: the loss is no finite number; {self.section}.learning_rate "
                f"is {self.settings.learning_rate:g}, set it to a tenth of that"
            )

    def _synchronise(self) -> None:
        """Give every process the first one's running statistics; the weights agree already."""
        if self.fabric.world_size > 1:
            averaged = self.average.values if self.average else {}
            for tensor in (*self.moving.values(), *averaged.values()):
                torch.distributed.broadcast(tensor, 0)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.moving.items()}

    def _chosen_weights(self) -> dict[str, torch.Tensor]:
        """Of the best epoch, or of the last one where none was judged."""
        if self.best:
            return self.best
        with self._averaged():
            return self._weights()

    def _averaged(self) -> AbstractContextManager[None]:
        """Within it the network holds the averaged weights, where there is an average."""
        return self.average.in_place() if self.average else nullcontext()

    def _state(self) -> dict[str, Any]:
        return {
            **self.history.record(),
            "moving": self.moving,
            "optimizer": self.optimizer.state_dict(),
            "plateau": self.plateau.state(),
            "average": self.average.values if self.average else {},
            "averaged": self.average.steps if self.average else 0,
        }

    def _resume(self, found: tuple[dict[str, Any], dict[str, torch.Tensor]] | None) -> None:
        if found is None:
            return
        state, self.best = found
        copy_into(self.moving, state["moving"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.plateau.load(state["plateau"])
        if self.average:
            self.average.values = {name: self.fabric.to_device(value) for name, value in state["average"].items()}
            self.average.steps = state["averaged"]
        self.history.load(state)
        say(f"training goes on behind epoch {self.history.last_epoch}, where it was ended")

    def _on_first(self, write: Callable[[], None]) -> None:
        """What one process does for all; the others wait."""
        if self.fabric.is_global_zero:
            write()
        self.fabric.barrier()
