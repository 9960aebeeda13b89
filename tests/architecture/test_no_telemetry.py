"""Nothing that runs here tells others about it: ONNX Runtime's own events are off before it is first imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grimp
from small_release import make_release

ROOT = Path(__file__).parents[2]
ASKING = """
import sys
from pathlib import Path
from tasks.opened_release import OpenedRelease
import numpy as np
opened = OpenedRelease(Path(sys.argv[1]))
opened.answer(np.zeros((opened.preprocess.crop, opened.preprocess.crop, 3), dtype=np.uint8))
"""
SILENCING = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
"""Variables that would silence it without our doing."""


def test_a_session_leaves_no_device_id_and_no_queue_of_events(tmp_path: Path) -> None:
    """Both lie below the home folder where its telemetry is on (seen with 1.31: .cache/Microsoft/DeveloperTools)."""
    home, release = tmp_path / "home", make_release(tmp_path / "release")
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in SILENCING and not name.startswith("XDG_")}
    environment = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ASKING, str(release)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_whoever_chose_keeps_the_choice() -> None:
    telling = "import os, tasks; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for chosen, expected in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        kept = {name: value for name, value in os.environ.items() if name not in SILENCING}
        environment = {**kept, "PYTHONPATH": str(ROOT), **chosen}
        done = subprocess.run([sys.executable, "-c", telling], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == expected


def test_only_modules_of_tasks_import_onnx_runtime() -> None:
    graph = grimp.build_graph("flows", "tasks", "deploy", include_external_packages=True)
    importers = graph.find_modules_that_directly_import("onnxruntime")
    assert importers
    assert {name.partition(".")[0] for name in importers} == {"tasks"}
