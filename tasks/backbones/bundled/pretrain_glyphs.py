"""Pretrain the bundled backbone: torchvision's shufflenet_v2_x0_5 learns to read rendered glyphs.

    python -m tasks.backbones.bundled.pretrain_glyphs --out tasks/backbones/bundled

Writes glyphs.safetensors and record.json. One CPU thread, every draw seeded: the same machine and versions give the
same bytes. No image of any data set is read; the embedded sample plays no part in it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torchvision
from PIL import __version__ as pillow_version
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from tasks.backbones.bundled.glyphs import (
    CHARACTERS,
    COARSEST,
    FINEST,
    Masters,
    coarsen,
    draw_masters,
    find_fonts,
    render,
)
from tasks.digests import bytes_sha256
from tasks.preprocess import Preprocess
from tasks.reports.document import write_bytes

ARCHITECTURE = "shufflenet_v2_x0_5"
WEIGHTS_NAME, RECORD_NAME = "glyphs.safetensors", "record.json"
HELD_OUT_FONTS = ("DejaVuSans-Oblique.ttf", "cmtt10.ttf")
"""Never trained on; the record's accuracy is on them."""

MEAN, STD = 0.3, 0.35
"""About those of the renderings' grey values."""

LICENCE = "the project's own; trained on renderings of the DejaVu, STIX and Computer Modern fonts inside matplotlib"
LARGEST_BYTES = 1_000_000

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Settings:
    """All that determines the weights.

    Attributes:
        seed: of every draw.
        renderings: training images; each is rendered anew and seen once.
        side: network input, pixels.
        batch: images per step.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of weights; biases and batch-norm parameters have none.
    """

    seed: int = 0
    renderings: int = 200_000
    side: int = 64
    batch: int = 128
    learning_rate: float = 0.2
    weight_decay: float = 5e-4


def batches(masters: Masters, settings: Settings, fonts: Tensor, generator: torch.Generator) -> Iterator[Batch]:
    """Endless labelled network inputs, every batch box-averaged to a side of its own.

    Yields:
        (batch, 3, side, side) normalised images and (batch,) indices into CHARACTERS.
    """
    while True:
        labels = torch.randint(len(CHARACTERS), (settings.batch,), generator=generator)
        drawn = fonts[torch.randint(len(fonts), (settings.batch,), generator=generator)]
        # a draw below COARSEST counts as COARSEST: over a third of the batches have the detail of the smallest scans
        coarse_side = max(COARSEST, int(torch.randint(COARSEST - 4, FINEST + 1, (1,), generator=generator)))
        images = coarsen(render(masters, labels, drawn, generator), coarse_side, settings.side)
        contrast = torch.rand((settings.batch, 1, 1, 1), generator=generator) * 0.3 + 0.7
        yield as_input(images * contrast), labels


def as_input(images: Tensor) -> Tensor:
    """(n, 1, h, w) grey values in [0, 1] to normalised (n, 3, h, w)."""
    return ((images - MEAN) / STD).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def train(masters: Masters, settings: Settings) -> nn.Module:
    """Train from random weights, one pass over fresh renderings of every font that is not held out."""
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    model: nn.Module = torchvision.models.get_model(ARCHITECTURE, weights=None, num_classes=len(CHARACTERS))
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = _optimizer(model, settings)
    steps = settings.renderings // settings.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps, pct_start=0.15)
    stream = batches(masters, settings, _font_rows(masters, held_out=False), generator)
    for step in range(1, steps + 1):
        images, labels = next(stream)
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            print(f"step {step}/{steps} loss {loss.item():.3f}", flush=True)
    return model.eval()


def held_out_accuracy(model: nn.Module, masters: Masters, settings: Settings, count: int = 40) -> float:
    """Share of right characters in `count` batches of the held-out fonts; 0/O/o or 1/l/I cannot all be told apart."""
    generator = torch.Generator().manual_seed(settings.seed + 1)
    stream = batches(masters, settings, _font_rows(masters, held_out=True), generator)
    right = 0
    with torch.inference_mode():
        for _ in range(count):
            images, labels = next(stream)
            right += int((model(images).argmax(dim=1) == labels).sum())
    return right / (count * settings.batch)


def pack(model: nn.Module, settings: Settings) -> bytes:
    """The weights below the head, in half precision, as safetensors that name their preprocessing.

    Raises:
        ValueError: a value leaves the range of half precision, or the file is larger than it may be.
    """
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
        if not name.startswith("fc.")
    }
    infinite = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if infinite:
        raise ValueError(f"not finite in half precision: {', '.join(infinite)}")
    about = {
        "architecture": ARCHITECTURE,
        "preprocess": preprocess(settings).model_dump(mode="json"),
        "licence": LICENCE,
        "source": "python -m tasks.backbones.bundled.pretrain_glyphs",
    }
    packed: bytes = save(state, metadata={"graft": json.dumps(about, sort_keys=True)})
    if len(packed) > LARGEST_BYTES:
        raise ValueError(f"{len(packed)} bytes of weights, more than the {LARGEST_BYTES} that the repository takes")
    return packed


def preprocess(settings: Settings) -> Preprocess:
    """How images must be prepared for these weights."""
    return Preprocess(resize=settings.side, crop=settings.side, mean=(MEAN,) * 3, std=(STD,) * 3)


def main() -> None:
    settings, out = _parse_arguments()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    started = time.process_time()
    masters = draw_masters(find_fonts())
    model = train(masters, settings)
    weights = pack(model, settings)
    record = {
        "settings": asdict(settings),
        "fonts": [name for name in masters.fonts if name not in HELD_OUT_FONTS],
        "held_out_fonts": list(HELD_OUT_FONTS),
        "held_out_glyph_accuracy": round(held_out_accuracy(model, masters, settings), 4),
        "cpu_seconds": round(time.process_time() - started),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "pillow": pillow_version,
        },
        "sha256": bytes_sha256(weights),
    }
    write_bytes(out / WEIGHTS_NAME, weights)
    write_bytes(out / RECORD_NAME, (json.dumps(record, indent=2) + "\n").encode())
    print(json.dumps(record, indent=2))


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)


def _font_rows(masters: Masters, *, held_out: bool) -> Tensor:
    return torch.tensor([row for row, name in enumerate(masters.fonts) if (name in HELD_OUT_FONTS) == held_out])


def _parse_arguments() -> tuple[Settings, Path]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and their record")
    for field in fields(Settings):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=type(field.default), default=field.default, help="default: %(default)s")
    arguments = vars(parser.parse_args())
    return Settings(**{field.name: arguments[field.name] for field in fields(Settings)}), arguments["out"]


if __name__ == "__main__":
    main()
