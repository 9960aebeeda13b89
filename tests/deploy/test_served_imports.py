"""What a server holds in memory: ONNX Runtime and its own libraries, nothing of the pipeline's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from serving_scene import REPOSITORY, bare_environment, free_port
from small_release import photo

NEVER = [
    "torch",
    "torchvision",
    "prefect",
    "dvc",
    "great_expectations",
    "pandas",
    "pyarrow",
    "sklearn",
    "scipy",
    "matplotlib",
    "onnx",
    "sqlalchemy",
    "flows",
    "pickle5",
    "joblib",
    "dill",
    "cloudpickle",
    "triton",
    "cryptography",
    "tasks.training",
    "tasks.backbones",
    "tasks.methods",
    "tasks.plots",
    "tasks.adapt",
    "tasks.export",
    "tasks.qualify",
]
ASKING = """
import json, os, signal, sys, threading, time, urllib.request
from deploy.server import main

address, photo, answers = "http://127.0.0.1:%s" % os.environ["GRAFT_SERVE_PORT"], bytes.fromhex(sys.argv[2]), []

def ask():
    for _ in range(600):
        try:
            urllib.request.urlopen(address + "/v2/health/ready").read()
            break
        except OSError:
            time.sleep(0.05)
    for path, body in (("/predict", photo), ("/metrics", None), ("/", None), ("/openapi.json", None), ("/v2", None)):
        with urllib.request.urlopen(urllib.request.Request(address + path, body)) as answer:
            answers.append([path, answer.status, len(answer.read())])
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=ask, daemon=True).start()
try:
    main(["--release", sys.argv[1], "--workers", "1"])
finally:
    print(json.dumps({"modules": sorted(sys.modules), "answers": answers}))
"""


def test_a_server_that_answered_holds_nothing_of_the_pipeline(release: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKING, str(release), photo().hex()],
        cwd=tmp_path,
        env=bare_environment(PYTHONPATH=str(REPOSITORY), GRAFT_SERVE_PORT=str(free_port())),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [path for path, status, _ in found["answers"] if status == 200] == [
        "/predict", "/metrics", "/", "/openapi.json", "/v2",
    ]  # fmt: skip
    loaded = set(found["modules"])
    assert {"onnxruntime", "fastapi", "numpy", "PIL", "deploy.server"} <= loaded
    strangers = {name for name in loaded for never in NEVER if name == never or name.startswith(f"{never}.")}
    assert strangers == set()
