"""fastai's fine_tune on the same weights and the same split; run by an environment that has fastai. Stands alone.

    python -m venv /elsewhere && /elsewhere/bin/pip install fastai==2.8.12
    /elsewhere/bin/python benchmarks/fastai_fine_tune.py PHOTOS SIDES.csv WEIGHTS.pth [--epochs 5] [--seed 0]

As its vision tutorial does: Resize(460), aug_transforms(size=224), vision_learner, fine_tune(epochs): one epoch of the
head, then all of the network with one-cycle rates. SIDES.csv has the columns path, label and side. Prints one JSON
object; seconds are counted from the start of the process, imports included, without the test photos' judgement.

Source: docs.fast.ai/tutorial.vision.html.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    began = time.perf_counter() - time.process_time()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("sides", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()

    import pandas as pd
    import torch
    from fastai.vision.all import (  # type: ignore[import-not-found]
        ImageDataLoaders,
        Resize,
        accuracy,
        aug_transforms,
        default_split,
        imagenet_stats,
        model_meta,
        set_seed,
        vision_learner,
    )
    from torch import nn
    from torchvision.models import mobilenet_v2

    def architecture(pretrained: bool = True) -> nn.Module:
        network: nn.Module = mobilenet_v2()
        network.load_state_dict(torch.load(arguments.weights, map_location="cpu", weights_only=True))
        return network

    model_meta[architecture] = {"cut": -1, "split": default_split, "stats": imagenet_stats}
    set_seed(arguments.seed, reproducible=True)
    rows = pd.read_csv(arguments.sides, dtype=str)
    learned, tested = rows[rows["side"] != "test"].reset_index(drop=True), rows[rows["side"] == "test"]
    loaders = ImageDataLoaders.from_df(
        learned.assign(judged=learned["side"] == "validation"),
        path=arguments.photos,
        fn_col="path",
        label_col="label",
        valid_col="judged",
        item_tfms=Resize(460),
        batch_tfms=aug_transforms(size=224),
        bs=arguments.batch,
        num_workers=arguments.workers,
    )
    learner = vision_learner(loaders, architecture, metrics=accuracy)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(arguments.epochs)
        seconds = time.perf_counter() - began
        validation = float(learner.validate()[1])
        classes = list(loaders.vocab)
        labels = torch.tensor([classes.index(label) for label in tested["label"]])
        probabilities, _ = learner.get_preds(dl=loaders.test_dl(tested))
    right = float((probabilities.argmax(1) == labels).float().mean())
    told = {
        "seconds": seconds,
        "validation": validation,
        "accuracy": right,
        "test_items": len(tested),
        "epochs": arguments.epochs,
        "version": version("fastai"),
    }
    print("\n" + json.dumps(told))


if __name__ == "__main__":
    main()
