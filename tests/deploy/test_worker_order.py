"""A parent's settings reach its workers as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.settings import Settings
from deploy.worker_order import Order
from tasks.params import ServeLimits, ServeParams


@pytest.mark.parametrize("release", [None, Path("/a release/of three")])
def test_an_order_survives_its_way_as_one_line(release: Path | None) -> None:
    serve = ServeParams(port=1, token_file="/keys/tok\nen", limits=ServeLimits(formats=("PNG",), body_mb=0.1))
    order = Order(Settings(serve, Path("/the store"), release), 7, Path("/dev/shm/x"), 1, 3)
    line = order.to_line()
    assert line.count(b"\n") == 1
    assert Order.from_line(line) == order
