"""On what and in which numbers a network is trained."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from lightning_fabric import Fabric

from tasks.params.training import TrainingParams


@dataclass(frozen=True)
class Numerics:
    """What the bits of a result depend on beside the data, the settings and the library.

    Attributes:
        threads: of one operation; their number decides in which order a convolution's gradient is summed.
        processes: among which each batch is divided.
    """

    device: str
    precision: Literal["fp32", "bf16"]
    memory_format: Literal["contiguous", "channels_last"]
    threads: int
    processes: int


def numerics_of(settings: TrainingParams) -> Numerics:
    """What the settings ask for; `auto` follows what the processor has, never a timing, so that it is always the same.

    Measured on a CPU with bfloat16 units, forward and backward, against contiguous fp32: channels_last is 1.5 times
    faster (mobilenet_v2) and 1.2 times (resnet18), bf16 in channels_last 2.0 and 2.3 times. Without such units bf16 is
    computed by way of fp32 and gains nothing, and a GPU without them has its fast fp32 kernels for contiguous images.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision, memory_format = settings.precision, settings.memory_format
    if precision == "auto":
        precision = "bf16" if computes_in_bf16(device) else "fp32"
    if memory_format == "auto":
        memory_format = "channels_last" if device == "cpu" or precision == "bf16" else "contiguous"
    processes = max(joined_processes(), settings.processes)
    return Numerics(device, precision, memory_format, torch.get_num_threads(), processes)


def joined_processes() -> int:
    """How many processes torchrun started together with this one, itself included; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def computes_in_bf16(device: str) -> bool:
    """Whether the processor has units for bfloat16: a GPU from Ampere on, an x86 CPU with AVX512-BF16 or AMX-BF16."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def fabric_of(numerics: Numerics) -> Fabric:
    """What places tensors, computes in bfloat16 and joins the processes that torchrun started."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    here, joined = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), joined_processes()
    fabric = Fabric(
        accelerator=numerics.device,
        devices=here,
        num_nodes=joined // here,
        strategy="ddp" if joined > 1 else "auto",
        precision="bf16-mixed" if numerics.precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


@contextmanager
def deterministic(device: str) -> Iterator[None]:
    """Within it torch takes the algorithms that give the same bits each time; on a GPU it warns where there is none.

    There fp32 is fp32: TF32, torch's default for convolutions, would drop 13 of its 23 bits.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, only = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    rounded = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device == "cuda")
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, only
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = rounded
