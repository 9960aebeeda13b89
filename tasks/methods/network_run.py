"""One network, trained as often as judging asks: from the same weights, on the same kept images. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.backbones.bodies import body_of
from tasks.backbones.registry import find_backbone
from tasks.backbones.torch_export import export_body
from tasks.backbones.weights import LoadedWeights
from tasks.errors import ParamsError
from tasks.methods.contract import LinearHead
from tasks.methods.network_contract import LabelledImages
from tasks.methods.training_launch import train_in_processes
from tasks.methods.training_order import TrainingOrder, write_order
from tasks.metrics import IntVector
from tasks.params import TrainingParams
from tasks.reports.training import BlockState
from tasks.threads import worker_threads
from tasks.training.determinants import TrainingItems
from tasks.training.examples import Examples
from tasks.training.freezing import block_states, depth_of, freeze, training_mode
from tasks.training.history import TrainingOutcome
from tasks.training.image_store import ImageStore
from tasks.training.kept_activations import keep_activations
from tasks.training.loop import OnEpoch, OnStep, train
from tasks.training.network import Network
from tasks.training.pixels import PixelExamples
from tasks.training.precision import joined_processes
from tasks.training.prefix import split_network

SMALL_IMAGE = 112
"""Side in pixels below which bf16 costs more in conversions than it gains: shufflenet_v2_x0_5 at 32 px on a CPU with
AVX512-BF16 took 26 ms a step of 32 in fp32 and 49 ms in bf16; at 224 px bf16 gains."""


class NetworkRun:
    """A network with what it is trained on.

    Attributes:
        body: all of it below the head; after `train` it holds the weights that were chosen.
        blocks: its blocks and the head, with what is trained of them.
        numerics: device, precision and memory format of the last training.
        views: how many variants of an image are kept below the frozen part; 0: nothing is kept.
        kept: name of the folder that they are kept in; None: nothing is kept.
    """

    def __init__(
        self,
        data: LabelledImages,
        settings: TrainingParams,
        weights: LoadedWeights,
        seed: int = 0,
        section: str = "adapt.method",
        pretrained: bool = True,
    ) -> None:
        """
        Args:
            weights: what training starts from.
            seed: of random ones, where their state is None; 0 gives those that the frozen features were computed with.
            pretrained: whether they are the backbone's.
            section: of params.yaml, where the settings stand; for messages.
        Raises:
            ParamsError: the settings do not fit the network.
            WeightsError: the weights do not.
        """
        self._data, self._settings = data, in_numbers_that_gain(settings, data.preprocess.crop)
        self._section, self._pretrained = section, pretrained
        torch.set_num_threads(training_threads(settings, data.preprocess.crop, data.threads))
        self._row = find_backbone(data.backbone.name)
        self.body = body_of(self._row, weights, seed)
        self._depth = depth_of(self.body, settings)
        self._start = {name: tensor.clone() for name, tensor in self.body.state_dict().items()}
        self._determinants: dict[str, Any] = {
            "backbone": self._row.name,
            "weights": weights.sha256,
            "preprocess": data.preprocess.model_dump(mode="json"),
        }
        self.blocks: list[BlockState] = block_states(self.body, self._head(None), self._depth)
        self.numerics: dict[str, str] = {}
        self.kept: str | None = None
        self._trunk, self._examples, self.views = self._what_an_epoch_computes()

    def train(
        self,
        learn: IntVector,
        judge: IntVector | None,
        head: LinearHead | None,
        until: int | None,
        on_step: OnStep,
        settings: TrainingParams | None = None,
        on_epoch: OnEpoch = lambda score: None,
        multipliers: Sequence[float] | None = None,
    ) -> tuple[TrainingOutcome, LinearHead]:
        """Train from the start weights on; `body` and the head that is returned hold the chosen epoch.

        Args:
            head: what the head starts from; None: random weights.
            until, on_step, on_epoch, multipliers: see `tasks.training.loop.train`.
            settings: in place of the run's own, where they differ in how long training lasts.
        Raises:
            ParamsError: training diverged, or more processes are asked for than there are GPUs.
            StageFailed: a process of several died twice.
        """
        self.body.load_state_dict(self._start)
        network = Network(self._trunk, self._head(head), self._settings.dropout)
        data, items = self._data, self._data.items
        asked = settings or self._settings
        torch.set_num_threads(training_threads(asked, data.preprocess.crop, data.threads))
        outcome = train(
            network,
            self._depth,
            TrainingItems(self._examples, items.labels, items.sha256, learn, judge),
            in_numbers_that_gain(asked, data.preprocess.crop),
            folder=data.checkpoints,
            determinants=self._determinants,
            until=until,
            multipliers=multipliers,
            section=self._section,
            on_step=on_step,
            on_epoch=on_epoch,
            spread=partial(self._spread, learn, judge, head, until, asked, multipliers, on_step, on_epoch),
        )
        self._flush()
        self.numerics = {
            "device": outcome.numerics.device,
            "precision": outcome.numerics.precision,
            "memory_format": outcome.numerics.memory_format,
        }
        weight, bias = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
        return outcome, LinearHead(weight.copy(), bias.copy())

    def _spread(
        self,
        learn: IntVector,
        judge: IntVector | None,
        head: LinearHead | None,
        until: int | None,
        settings: TrainingParams,
        multipliers: Sequence[float] | None,
        on_step: OnStep,
        on_epoch: OnEpoch,
    ) -> None:
        """Have this very training done by as many processes as the settings say."""
        from tasks.methods import training_rank

        processes, gpus = settings.processes, torch.cuda.device_count()
        if 0 < gpus < processes:
            raise ParamsError(
                f"{self._section}.processes is {processes}, one a GPU, and this machine has {gpus}; set it to {gpus}"
            )
        # What this process could not keep, those that it starts shall not try to.
        run_settings = self._settings if self.kept else self._settings.model_copy(update={"keep_frozen": "never"})
        order = TrainingOrder(
            self._data, run_settings, self._pretrained, self._section, self.kept, learn, judge, head, until, settings,
            multipliers,
        )  # fmt: skip
        threads = training_threads(settings, self._data.preprocess.crop, self._data.threads)
        with TemporaryDirectory(prefix="graft-training-") as folder:
            file = Path(folder) / "order.pt"
            write_order(order, file)
            train_in_processes(file, processes, threads, on_step, on_epoch, training_rank.__name__)

    def exported(self) -> tuple[bytes, bytes]:
        """The body as it is now: a safetensors file, and an ONNX feature graph."""
        from safetensors.torch import save

        state = {name: tensor.detach().contiguous().clone() for name, tensor in self.body.state_dict().items()}
        for parameter in self.body.parameters():
            parameter.requires_grad_(False)
        return save(state), export_body(self._row, self.body, self._data.preprocess)

    def _head(self, start: LinearHead | None) -> nn.Linear:
        classes = len(self._data.items.names)
        torch.manual_seed(self._settings.seed)
        head = nn.Linear(self._row.feature_width, classes)
        if start is not None:
            with torch.no_grad():
                head.weight.copy_(torch.from_numpy(np.ascontiguousarray(start.weight)))
                head.bias.copy_(torch.from_numpy(np.ascontiguousarray(start.bias)))
        return head

    def _what_an_epoch_computes(self) -> tuple[nn.Module, Examples, int]:
        """The trained part over kept activations where something frozen lies below it, else all over pixels."""
        data, settings, items = self._data, self._settings, self._data.items
        room = round(settings.frozen_cache_gb * 1e9 / joined_processes())
        store = ImageStore.under(data.cache / "images", data.preprocess, room)
        self._flush = store.flush
        pixels = PixelExamples(data.files, items.sha256, data.preprocess, settings, data.threads, store)
        whole = Network(self.body, self._head(None), settings.dropout)
        freeze(whole, self._depth)
        if settings.keep_frozen == "never":
            return self.body, pixels, 0
        training_mode(whole, self._depth)
        trained = [name for name, parameter in self.body.named_parameters() if parameter.requires_grad]
        prefix, suffix = split_network(self.body, trained, data.preprocess.crop)
        kept = (
            None
            if prefix is None
            else keep_activations(pixels, prefix, data.cache / "activations", settings, data.threads)
        )
        store.flush()
        if kept is None:
            return self.body, pixels, 0
        self._determinants["activations"] = self.kept = kept.folder.name
        return suffix, kept, max(1, kept.views)


def training_threads(settings: TrainingParams, crop: int, limit: int) -> int:
    """Threads of one operation: as set, else 1 for small images, else what the stage may use, shared by the processes.

    A step on small images is overhead; with one thread a model of such images is the same on any number of cores.
    """
    return settings.threads or (1 if crop < SMALL_IMAGE else max(1, worker_threads(limit) // settings.processes))


def in_numbers_that_gain(settings: TrainingParams, crop: int) -> TrainingParams:
    """The settings with `precision: auto` decided for small images; for others the processor decides."""
    if settings.precision != "auto" or crop >= SMALL_IMAGE:
        return settings
    return settings.model_copy(update={"precision": "fp32"})
