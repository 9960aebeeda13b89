"""docs/serving.md: its tables are the code's, its curl lines and its client work, the files that it names are there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment_files import DEPLOY
from pydantic import BaseModel
from serving_scene import REPOSITORY, serving
from small_release import photo

from deploy.metrics import Metrics
from tasks.params import ServeParams

TEXT = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
EXAMPLE_ADDRESS = "127.0.0.1:8000"


def setting_rows(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """A line of the table for every setting, those of a subsection after the section's own."""
    inner = []
    for name, field in section.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            inner.append((type(default), f"{prefix}{name}."))
        else:
            shown = json.dumps(default, default=str).strip('"').replace("[", "").replace("]", "").replace('"', "")
            yield f"| `{prefix}{name}` | {shown} | {field.description} |"
    for kind, place in inner:
        yield from setting_rows(kind, place)


def metric_rows() -> Iterator[str]:
    """A line of the table for every metric, under the name that Prometheus stores."""
    for family in Metrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"| `{name}` | {family.type} | {family.documentation} |"


def test_the_table_of_settings_is_the_code_s() -> None:
    rows = list(setting_rows(ServeParams))
    missing = [row for row in rows if row not in TEXT]
    assert missing == [], "docs/serving.md lacks these lines"


def test_no_table_names_what_there_is_not() -> None:
    told = [line for line in TEXT.splitlines() if line.startswith("| `")]
    assert set(told) <= {*setting_rows(ServeParams), *metric_rows()}


def test_the_table_of_metrics_is_the_code_s() -> None:
    assert [row for row in metric_rows() if row not in TEXT] == [], "docs/serving.md lacks these lines"


def test_what_the_text_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (REPOSITORY / "docs" / target).exists(), target
    for name in re.findall(r"deploy/[\w./-]+\w", TEXT):
        assert (REPOSITORY / name).exists() or name == "deploy/compose.env", name
    locked = len((DEPLOY / "requirements.lock").read_text().splitlines())
    assert f"the `serve` extra ({locked}\ndistributions" in TEXT


def lines_of(first_word: str) -> list[str]:
    return [line.strip() for line in TEXT.splitlines() if line.startswith(f"    {first_word} ")]


@pytest.fixture(scope="module")
def answering(release_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of a server, and a folder with the photo of the examples."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "photo.jpg").write_bytes(photo())
    with serving(folder, "--release", str(release_template)) as server:
        yield f"127.0.0.1:{server.port}", folder


@pytest.mark.parametrize("line", lines_of("curl"))
def test_every_curl_line_gets_an_answer(line: str, answering: tuple[str, Path]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    address, folder = answering
    assert EXAMPLE_ADDRESS in line
    command = shlex.split(line.replace(EXAMPLE_ADDRESS, address))
    done = subprocess.run(
        [*command, "--silent", "--show-error", "--fail-with-body", "--noproxy", "*"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    if "/predict" in line:
        answer: dict[str, Any] = json.loads(done.stdout)
        assert answer.keys() == json.loads(example_answer()).keys()
        assert len(answer["predictions"]) == (1 if "top_k=1" in line else 3)


def example_answer() -> str:
    start = TEXT.index('{"predictions"')
    return TEXT[start : TEXT.index("\n    {", start)]


def test_the_client_of_the_example_gets_probabilities(answering: tuple[str, Path]) -> None:
    pytest.importorskip("tritonclient.http")
    address, folder = answering
    start = TEXT.index("    import numpy as np")
    code = TEXT[start : TEXT.index("\n\nIts errors", start)].replace("\n    ", "\n").strip()
    done = subprocess.run(
        [sys.executable, "-c", code.replace(EXAMPLE_ADDRESS, address)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    numbers = [float(number) for number in done.stdout.strip(" []\n").split()]
    assert len(numbers) == 3
    assert sum(numbers) == pytest.approx(1.0, abs=1e-5)
