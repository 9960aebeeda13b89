"""A small workspace made in code: two classes of tiny pictures and a backbone with random weights at 32 pixels."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from flows.inputs import write_inputs
from tasks.adapt import adapt
from tasks.embed import embed
from tasks.evaluate import evaluate
from tasks.export import export
from tasks.gate import gate
from tasks.params import Params, load_params
from tasks.qualify import qualify
from tasks.review import review
from tasks.split import split
from tasks.validate import validate
from tasks.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = ("ember", "ocean")
SIDE = 40
RUN = {
    "validate": validate,
    "embed": embed,
    "split": split,
    "review": review,
    "adapt": adapt,
    "evaluate": evaluate,
    "gate": gate,
    "export": export,
    "qualify": qualify,
}
SETTINGS: dict[str, Any] = {
    "data": {"path": "data/raw"},
    "backbone": {"name": "squeezenet1_0", "weights": "none", "preprocess": {"resize": 32, "crop": 32}},
    "embed": {"batch_size": 8},
    "limits": {"threads": 2},
    "adapt": {"from_scratch": "never"},
    "evaluate": {"bootstrap_samples": 200},
    "gate": {
        "min_test_items": 4,
        "min_test_items_per_class": 2,
        "gain_over_raw_pixels": {"minimum": -1.0},
    },
    "export": {"name": "small", "licence": "CC0-1.0"},
}


def picture(label: str, seed: int, side: int = SIDE) -> Image.Image:
    """A smooth random pattern, warm (ember) or cold (ocean); another seed, another pattern."""
    generator = np.random.default_rng([CLASSES.index(label), seed])
    rough = Image.fromarray(generator.integers(0, 120, (5, 5, 3), dtype=np.uint8))
    pixels = np.asarray(rough.resize((side, side), Image.Resampling.BICUBIC)).copy()
    pixels[..., 0 if label == "ember" else 2] += 120
    return Image.fromarray(pixels)


def add_pictures(folder: Path, count: int, first_seed: int = 0) -> list[Path]:
    """`count` further pictures, dealt to the classes in turn, as CLASS/SEED.png."""
    files = []
    for seed in range(first_seed, first_seed + count):
        file = folder / CLASSES[seed % len(CLASSES)] / f"{seed:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(file.parent.name, seed).save(file)
        files.append(file)
    return files


def make_workspace(root: Path, pictures: int = 40, settings: dict[str, Any] | None = None) -> Workspace:
    """A git checkout with this repository's dvc.yaml and params.yaml, pictures, and the run's pinned inputs."""
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    for name in ("dvc.yaml", "params.yaml", "requirements.lock"):
        shutil.copy(REPOSITORY / name, root / name)
    workspace = Workspace(root)
    change_params(workspace, SETTINGS)
    change_params(workspace, settings or {})
    add_pictures(root / "data" / "raw", pictures)
    write_inputs(workspace, load_params(workspace.params))
    return workspace


def change_params(workspace: Workspace, changes: dict[str, Any]) -> Params:
    """Merge `changes` into params.yaml."""
    yaml = YAML(typ="safe")
    yaml.width = 4096  # as Graft writes it
    document = _merged(yaml.load(workspace.params.read_text()), changes)
    with workspace.params.open("w") as file:
        yaml.dump(document, file)
    return load_params(workspace.params)


def run_stages(workspace: Workspace, *stages: str) -> None:
    """Run stages (default: the whole corridor) in this process."""
    params = load_params(workspace.params)
    for stage in stages or tuple(RUN):
        RUN[stage](workspace, params)


def copy_workspace(workspace: Workspace, root: Path) -> Workspace:
    """The same workspace at another path, with its caches."""
    shutil.copytree(workspace.root, root, symlinks=True)
    return Workspace(root)


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
