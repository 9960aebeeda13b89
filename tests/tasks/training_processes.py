"""One training in as many processes as torchrun starts: run as a program, each prints what it ended with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from training_scene import fine_tune, made_items, made_network

from tasks.training.freezing import digest_of
from tasks.training.loop import train
from tasks.training.network import Network, tensors_of


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    network, depth = made_network(0.0, average=0.5, patience=3)
    without_dropout(network)
    settings = fine_tune(average=0.5, patience=3)
    outcome = train(network, depth, made_items(), settings, folder=folder, determinants={})
    losses = [row.loss for row in outcome.history]
    report = {"network": digest_of(tensors_of(network)), "losses": losses, "chosen": outcome.chosen_epoch}
    (folder / f"{torch.distributed.get_rank() if torch.distributed.is_initialized() else 'alone'}.json").write_text(
        json.dumps(report)
    )


def without_dropout(network: Network) -> None:
    """Processes draw masks of their own; without any, their gradient is that of the whole batch."""
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
