"""deploy/prometheus: rules over metrics and labels that a server has, and a server that the configuration finds."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any, get_args

import pytest
from deployment_files import DEPLOY
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from deploy import metrics as metrics_module
from deploy.metrics import Metrics

FOLDER = DEPLOY / "prometheus"
RULES: list[dict[str, Any]] = YAML(typ="safe").load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]


def exposed() -> dict[str, set[str]]:
    """Name of a sample to the names of its labels, once everything was counted."""
    metrics = Metrics()
    metrics.request("/predict", 200, 0.1)
    metrics.batch(1, 0.1)
    metrics.rejected("overloaded")
    metrics.reload("refused")
    metrics.shadow("agreed")
    metrics.captured("kept")
    metrics.model("name", "1", "d" * 64)
    text = metrics.exposition()
    families = text_string_to_metric_families(text.decode() if isinstance(text, bytes) else text)
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_samples_and_labels_that_a_server_has(rule: dict[str, Any]) -> None:
    known = exposed()
    asked = re.findall(r"\b(graft_\w+)(?:\{([^}]*)\})?", rule["expr"])
    assert asked or rule["expr"].startswith("up{")
    for name, chosen in asked:
        assert name in known, name
        assert set(re.findall(r"(\w+)[!=]", chosen)) <= known[name], chosen
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]


def test_values_that_rules_name_are_values_that_a_server_counts() -> None:
    text = (FOLDER / "alerts.yml").read_text()
    assert set(re.findall(r'reason="(\w+)"', text)) <= set(get_args(metrics_module.Rejection))
    assert set(re.findall(r'outcome="(\w+)"', text)) <= {"accepted", "refused"}


def test_the_server_of_compose_is_scraped() -> None:
    configuration = YAML(typ="safe").load((FOLDER / "prometheus.yml").read_text())
    services = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text())["services"]
    (job,) = [one for one in configuration["scrape_configs"] if one["job_name"] == "graft"]
    host, _, port = job["static_configs"][0]["targets"][0].partition(":")
    assert services[host]["ports"][0].endswith(f":{port}")
    assert set(services[host]["networks"]) & set(services["prometheus"]["networks"])
    assert all((FOLDER / name).is_file() for name in configuration["rule_files"])


def test_promtool_reads_them() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        ["promtool", "check", "config", str(FOLDER / "prometheus.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
