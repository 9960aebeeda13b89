"""Training a network epoch by epoch: judged after each, kept on disk, resumed to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from tasks.errors import ParamsError
from tasks.metrics import IntVector
from tasks.params.training import TrainingParams
from tasks.reports.training import EpochScore
from tasks.stage import say
from tasks.training.averaging import Average, copy_into, moving_tensors
from tasks.training.batches import SMALLEST_BATCH, Batches
from tasks.training.checkpoints import Checkpoints
from tasks.training.determinants import TrainingItems, training_key
from tasks.training.freezing import Depth, digest_of, freeze, frozen_tensors, training_mode
from tasks.training.losses import class_weights, log_loss_and_accuracy, summed_loss
from tasks.training.network import Network
from tasks.training.parameter_groups import optimizer_of, set_rates
from tasks.training.precision import Numerics, deterministic, fabric_of, numerics_of
from tasks.training.schedules import Plateau, multiplier

OnStep = Callable[[int], None]


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training went; the network itself holds the weights of the chosen epoch.

    Attributes:
        history: one row for the start (epoch 0) and one for each epoch.
        judged_logits: (epochs + 1, judged items, classes) float32, in the order of `history`; none judged: 0 items.
        chosen_epoch: the one of least judged loss, from 1 on; the last one where nothing was judged.
        stopped_early: whether it ended because no epoch had become better for a while.
    """

    history: list[EpochScore]
    judged_logits: np.typing.NDArray[np.float32]
    chosen_epoch: int
    stopped_early: bool
    numerics: Numerics


def train(
    network: Network,
    depth: Depth,
    items: TrainingItems,
    settings: TrainingParams,
    *,
    folder: Path,
    determinants: Mapping[str, Any],
    until: int | None = None,
    on_step: OnStep = lambda count: None,
) -> TrainingOutcome:
    """Train a network in place; it is left on the CPU, in evaluation mode, with the chosen epoch's weights.

    A training that was ended in between goes on where its last whole epoch ended, and gives the same bits as one that
    was not; a finished one is found again and not computed.

    Args:
        folder: of all checkpoints; this training has one of its own in there, named by its digest.
        determinants: JSON-able; what determines the examples' inputs, and all else that the result depends on.
        until: last epoch, where that is earlier than the settings say; the schedule keeps its full length.
        on_step: hears of every step, how many items it took; the sum is epochs times items, resumed or not.
    Raises:
        ParamsError: the loss or a weight became infinite or no number.
    """
    numerics = numerics_of(settings)
    last = min(until or settings.epochs, settings.epochs)
    key = training_key(network, depth, items, settings, numerics, last, determinants)
    checkpoints = Checkpoints(folder / key)
    with deterministic(numerics.device), torch.random.fork_rng():
        training = _Training(network, depth, items, settings, numerics, last)
        before = digest_of(frozen_tensors(network, depth))
        outcome = training.run(checkpoints, on_step)
        network.cpu().to(memory_format=torch.contiguous_format).eval()
    if digest_of(frozen_tensors(network, depth)) != before:
        raise RuntimeError("training changed a frozen part of the network")
    return outcome


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
        self.plateau = Plateau(settings)
        self.history: list[EpochScore] = []
        self.judged: list[torch.Tensor] = []
        self.best: dict[str, torch.Tensor] = {}

    def run(self, checkpoints: Checkpoints, on_step: OnStep) -> TrainingOutcome:
        finished = self.fabric.broadcast(checkpoints.outcome())
        if finished is None:
            self._resume(self.fabric.broadcast(checkpoints.state()))
            self._go_on(checkpoints, on_step)
            finished = {**self._record(), "weights": self._chosen_weights()}
            self._on_first(partial(checkpoints.finish, finished))
        else:
            on_step(self.last * len(self.items.learn))
        copy_into(self.moving, finished["weights"])
        return TrainingOutcome(
            history=[EpochScore(**row) for row in finished["history"]],
            judged_logits=finished["judged"].numpy(),
            chosen_epoch=finished["best"] or len(finished["history"]) - 1,
            stopped_early=len(finished["history"]) - 1 < self.last,
            numerics=self.numerics,
        )

    def _go_on(self, checkpoints: Checkpoints, on_step: OnStep) -> None:
        count = len(self.items.learn)
        if not self.history:
            self._judge(0, 0.0, None)
        on_step((len(self.history) - 1) * count)
        while len(self.history) <= self.last and not self._out_of_patience():
            epoch = len(self.history)
            loss = self._epoch(epoch, on_step)
            best = self.best if self._judge(epoch, self.optimizer.param_groups[-1]["lr"], loss) else None
            self._on_first(partial(checkpoints.keep, self._state(), best))
        on_step((self.last + 1 - len(self.history)) * count)

    def _epoch(self, epoch: int, on_step: OnStep) -> float:
        """Learn from every item once; the mean training loss, nats."""
        seed = f"{self.settings.seed} {epoch} {self.fabric.global_rank}"
        # Dropout and stochastic depth start anew in every epoch, so that a resumed one draws the same.
        torch.manual_seed(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little") >> 1)
        training_mode(self.network, self.depth)
        total, weight = torch.zeros((), device=self.fabric.device), 0.0
        for step, rows in enumerate(self.batches.of_epoch(epoch), (epoch - 1) * self.batches.count):
            factor = multiplier(self.settings, step, self.batches.count) * self.plateau.multiplier
            set_rates(self.optimizer, factor)
            labels = torch.from_numpy(self.items.labels[rows].astype(np.int64))
            rows_weight = float(self.weights.cpu()[labels].sum())
            total += self._step(rows, epoch, rows_weight)
            weight += rows_weight
            on_step(len(rows))
        self._synchronise()
        summed: Any = self.fabric.all_reduce(total, reduce_op="sum")
        loss = float(summed) / weight
        self._check(epoch, loss)
        return loss

    def _step(self, rows: IntVector, epoch: int, rows_weight: float) -> torch.Tensor:
        """The summed loss of this process' share of a batch; gradients are those of the whole batch's mean."""
        share = rows[self.fabric.global_rank :: self.fabric.world_size]
        logits = self.model(*self._placed(self.items.examples.inputs(share, epoch)))
        targets = self.fabric.to_device(torch.from_numpy(self.items.labels[share].astype(np.int64)))
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

    def _judge(self, epoch: int, rate: float, training_loss: float | None) -> bool:
        """Add a row to the history; whether its weights are the ones to keep so far."""
        loss = accuracy = None
        logits, better = torch.zeros(0, 0), False
        rows = self.items.judge
        if rows is not None:
            with self.average.in_place() if self.average else nullcontext():
                logits = self.fabric.broadcast(self._logits(rows))
                loss, accuracy = log_loss_and_accuracy(logits.numpy(), self.items.labels[rows])
                earlier = [row.loss for row in self.history[1:] if row.loss is not None]
                better = epoch > 0 and loss < min(earlier, default=np.inf)
                self.best = self._weights() if better else self.best
        self._check(epoch, loss)
        self.judged.append(logits)
        self.history.append(
            EpochScore(epoch=epoch, rate=rate, training_loss=training_loss, loss=loss, accuracy=accuracy)
        )
        telling = training_loss if loss is None else loss
        if epoch and telling is not None:
            self.plateau.judged(telling)
        return better

    @torch.no_grad()
    def _logits(self, rows: IntVector) -> torch.Tensor:
        """(rows, classes) float32 on the CPU, of unvaried images, in the numbers in which the network is served."""
        self.network.eval()
        parts = np.array_split(rows, range(self.settings.batch_size, len(rows), self.settings.batch_size))
        return torch.cat([self.network(*self._placed(self.items.examples.plain(part))).cpu() for part in parts])

    def _placed(self, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        wanted = torch.channels_last if self.numerics.memory_format == "channels_last" else torch.contiguous_format
        return [self.fabric.to_device(one.contiguous(memory_format=wanted) if one.ndim == 4 else one) for one in inputs]

    def _check(self, epoch: int, *losses: float | None) -> None:
        sound = all(np.isfinite(loss) for loss in losses if loss is not None)
        if not sound or not all(bool(tensor.isfinite().all()) for tensor in self.moving.values()):
            raise ParamsError(
                f"training diverged in epoch {epoch}: the loss is no finite number; adapt.method.learning_rate is "
                f"{self.settings.learning_rate:g}, set it to a tenth of that"
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
        with self.average.in_place() if self.average else nullcontext():
            return self._weights()

    def _best_epoch(self) -> int:
        """0 where nothing is judged."""
        judged = [(row.loss, row.epoch) for row in self.history[1:] if row.loss is not None]
        return min(judged)[1] if judged else 0

    def _out_of_patience(self) -> bool:
        best = self._best_epoch()
        return bool(self.settings.patience and best) and len(self.history) - 1 - best >= self.settings.patience

    def _record(self) -> dict[str, Any]:
        """What both a checkpoint and the outcome tell, in types that torch.load takes with weights_only."""
        history = [row.model_dump() for row in self.history]
        return {"history": history, "judged": torch.stack(self.judged), "best": self._best_epoch()}

    def _state(self) -> dict[str, Any]:
        return {
            **self._record(),
            "moving": self.moving,
            "optimizer": self.optimizer.state_dict(),
            "plateau": self.plateau.state(),
            "average": self.average.values if self.average else {},
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
        self.history = [EpochScore(**row) for row in state["history"]]
        self.judged = list(state["judged"])
        say(f"training goes on behind epoch {self.history[-1].epoch}, where it was ended")

    def _on_first(self, write: Callable[[], None]) -> None:
        """What one process does for all; the others wait."""
        if self.fabric.is_global_zero:
            write()
        self.fabric.barrier()
