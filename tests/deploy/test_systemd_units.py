"""deploy/systemd: units that systemd reads, hardened, with the time that a server takes to end."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from deployment_files import DEPLOY, longest_end_seconds, served_settings

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def values(unit: Path, key: str) -> list[str]:
    """What a unit says of a key, every time."""
    found = re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    return [str(value) for value in found]


def variables(unit: Path) -> dict[str, str]:
    """As systemd sets them: with the folders of credentials and of state in the place of %d and %S."""
    told = values(unit, "Environment")
    lines = [line.replace("%d", "/run/credentials/graft").replace("%S", "/var/lib") for line in told]
    words = [word for line in lines for word in shlex.split(line)]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_reads_the_unit(unit: Path, tmp_path: Path) -> None:
    """On a copy that starts what every machine has, as the real command is only there where it is installed."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = unit.read_text(encoding="utf-8")
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    copy.write_text(text.replace("[Service]", "[Service]\nProtectEverything=yes"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60
    )
    assert "ProtectEverything" in done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_no_root_and_may_gain_nothing(unit: Path) -> None:
    assert values(unit, "DynamicUser") == ["yes"] or values(unit, "User") == ["graft"]
    for key, value in {
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "PrivateTmp": "yes",
        "RestrictSUIDSGID": "yes",
        "Restart": "always",
    }.items():
        assert values(unit, key) == [value]
    assert not [name for name in variables(unit) if re.search("PASSWORD|SECRET|AUTH|TOKEN$", name)]


def test_systemd_rates_the_server_as_hardly_exposed() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--threshold=20",
            str(DEPLOY / "systemd/graft-server.service"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-300:]


def test_the_server_is_told_settings_that_it_knows_and_ends_in_time() -> None:
    unit = DEPLOY / "systemd" / "graft-server.service"
    told = {name: value for name, value in variables(unit).items() if name.startswith("GRAFT_")}
    settings = served_settings(told).serve
    assert settings.token_file
    assert settings.capture.folder == f"/var/lib/{values(unit, 'StateDirectory')[0]}"
    assert float(values(unit, "TimeoutStopSec")[0]) >= longest_end_seconds(told)
    assert values(unit, "KillMode") == ["mixed"]
    (command,) = values(unit, "ExecStart")
    assert command.split()[1:3] == ["-m", "deploy.server"]
    # setrlimit and sched_setaffinity, which a server and ONNX Runtime call, are among the resources.
    assert "~@privileged" in values(unit, "SystemCallFilter")
    assert not any("@resources" in line for line in values(unit, "SystemCallFilter"))
