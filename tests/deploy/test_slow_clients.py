"""The slow clients of the measurements, against the real protocol."""

from __future__ import annotations

from protocol_scene import protocol_scene, wait_until

from benchmarks.slow_clients import SlowClients


def test_slow_clients_stay_until_the_server_ends_them() -> None:
    with protocol_scene(header_seconds=0.4, body_seconds=0.4) as scene, SlowClients(scene.address[1], 8) as slow:
        wait_until(lambda: len(slow.lived) == 8)
        assert min(slow.lived) >= 0.3
