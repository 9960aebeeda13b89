"""What auto chooses depends on the processor alone; what is set is left as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from training_scene import fine_tune

from tasks.training.precision import Numerics, deterministic, fabric_of, numerics_of


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        ({"avx512_f": True, "avx512_bf16": False}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_a_processor_without_units_for_bfloat16_computes_in_fp32(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    found = numerics_of(fine_tune(precision="auto"))
    assert (found.device, found.precision, found.memory_format) == ("cpu", expected, "channels_last")


@pytest.mark.parametrize(("units", "expected"), [(True, ("bf16", "channels_last")), (False, ("fp32", "contiguous"))])
def test_a_gpu_takes_channels_last_where_it_takes_bfloat16(
    monkeypatch: pytest.MonkeyPatch, units: bool, expected: tuple[str, str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: units and not including_emulation)
    found = numerics_of(fine_tune(precision="auto"))
    assert (found.device, found.precision, found.memory_format) == ("cuda", *expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_what_is_set_is_taken(precision: str, memory_format: str) -> None:
    found = numerics_of(fine_tune(precision=precision, memory_format=memory_format))
    assert (found.precision, found.memory_format) == (precision, memory_format)


@pytest.mark.parametrize(("precision", "inside"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_are_computed_in_the_precision_and_weights_stay_fp32(precision: Any, inside: torch.dtype) -> None:
    fabric = fabric_of(Numerics("cpu", precision, "contiguous", 1, 1))
    layer = torch.nn.Linear(3, 3)
    with fabric.autocast():
        assert layer(torch.ones(1, 3)).dtype == inside
    assert layer.weight.dtype == torch.float32


def test_deterministic_algorithms_are_asked_for_and_given_back() -> None:
    before, rounded = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    with deterministic("cpu"):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark == before
    assert torch.backends.cudnn.allow_tf32 == rounded
