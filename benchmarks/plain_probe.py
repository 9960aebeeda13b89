"""What one writes without Graft: eager frozen features and scikit-learn's logistic regression. Stands alone.

    python benchmarks/plain_probe.py PHOTOS SIDES.csv WEIGHTS.pth [--workers 0] [--batch 32]

SIDES.csv has the columns path, label and side; the head learns from train and validation and is judged on test.
Prints one JSON object: accuracy, test_items and the images embedded.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import mobilenet_v2

TRANSFORM = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


class Photos(Dataset[torch.Tensor]):
    """Photos as (3, 224, 224) float32."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        with Image.open(self.files[place]) as image:
            tensor: torch.Tensor = TRANSFORM(image.convert("RGB"))
        return tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("sides", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    with arguments.sides.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    network = mobilenet_v2()
    network.load_state_dict(torch.load(arguments.weights, map_location="cpu", weights_only=True))
    network.classifier = torch.nn.Identity()
    network.eval()
    loader = DataLoader(
        Photos([arguments.photos / row["path"] for row in rows]),
        batch_size=arguments.batch,
        num_workers=arguments.workers,
    )
    with torch.inference_mode():
        features = torch.cat([network(batch) for batch in loader]).numpy()

    labels = np.array([row["label"] for row in rows])
    tested = np.array([row["side"] == "test" for row in rows])
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(features[~tested], labels[~tested])
    accuracy = float(head.score(features[tested], labels[tested]))
    print(json.dumps({"accuracy": accuracy, "test_items": int(tested.sum()), "images": len(rows)}))


if __name__ == "__main__":
    main()
