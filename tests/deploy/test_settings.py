"""params.yaml, the environment and the command line, each over the one before; an error names where it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.settings import Flags, Override, flag_overrides, read_settings
from tasks.errors import ParamsError
from tasks.params import ServeParams


def params_file(folder: Path, text: str = "serve:\n  port: 1000\n  queue: 5\n  token_file: keys/token\n") -> Path:
    file = folder / "params.yaml"
    file.write_text(f"schema_version: 2\n{text}", encoding="utf-8")
    return file


def test_the_environment_goes_over_the_file_and_the_flags_over_both(tmp_path: Path) -> None:
    environment = {"GRAFT_SERVE_PORT": "2000", "GRAFT_SERVE_QUEUE": "6", "GRAFT_SERVE_LIMITS__BODY_MB": "0.5"}
    flags = Flags(overrides=(*flag_overrides(["serve.port=3000"]), Override(("port",), 4000, "--port")))
    serve = read_settings(params_file(tmp_path), environment, flags).serve
    assert (serve.port, serve.queue, serve.limits.body_mb) == (4000, 6, 0.5)
    assert serve.limits.header_kb == ServeParams().limits.header_kb


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read_settings(None, {})
    assert settings.serve.model_copy(update={"capture": ServeParams().capture}) == ServeParams()
    assert settings.store == tmp_path / "releases"
    assert settings.release is None


def test_paths_are_relative_to_what_named_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = tmp_path / "caller"
    caller.mkdir()
    monkeypatch.chdir(caller)
    file = params_file(tmp_path)
    settings = read_settings(file, {"GRAFT_SERVE_VERIFY_KEY": "key.pem", "GRAFT_STORE": "store"})
    assert settings.serve.token_file == str(tmp_path / "keys/token")
    assert settings.serve.verify_key == str(caller / "key.pem")
    assert settings.store == caller / "store"
    assert read_settings(file, {}).store == tmp_path / "releases"


def test_the_flags_name_the_params_the_store_and_the_release(tmp_path: Path) -> None:
    flags = Flags(params_file(tmp_path), tmp_path / "other", tmp_path / "release")
    settings = read_settings(None, {"GRAFT_STORE": "store", "GRAFT_RELEASE": "elsewhere"}, flags)
    assert settings.serve.port == 1000
    assert (settings.store, settings.release) == (tmp_path / "other", tmp_path / "release")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"GRAFT_SERVE_PROT": "1"}, r"^GRAFT_SERVE_PROT: unknown key 'serve.prot'; did you mean 'port'"),
        ({"GRAFT_SERVE_PORT": "abc"}, r"^GRAFT_SERVE_PORT: serve.port: 'abc' is not allowed"),
        ({"GRAFT_SERVE_PORT": "70000"}, r"^GRAFT_SERVE_PORT: serve.port: 70000 is not allowed"),
        ({"GRAFT_SERVE_PORT": ""}, r"^GRAFT_SERVE_PORT: serve.port: None is not allowed"),
        ({"GRAFT_SERVE_LIMITS": "3"}, r"^GRAFT_SERVE_LIMITS: serve.limits: 3 is not allowed"),
        ({"GRAFT_SERVE_LIMITS__BODY": "3"}, r"^GRAFT_SERVE_LIMITS__BODY: unknown key 'serve.limits.body'"),
        ({"GRAFT_SERVE_HOST": "[}"}, r"^GRAFT_SERVE_HOST: '\[\}' is not readable as YAML"),
    ],
)
def test_a_wrong_variable_is_named(environment: dict[str, str], told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        read_settings(None, environment)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("serve.port", "not of the form serve.key=value"),
        ("gate.accuracy=1", "not of the form serve.key=value"),
        ("serve=1", "not of the form serve.key=value"),
        ("serve.prot=1", "--set serve.prot: unknown key 'serve.prot'; did you mean 'port'"),
    ],
)
def test_a_wrong_flag_is_named(text: str, told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        flag_overrides([text])


def test_a_wrong_value_in_the_file_is_named_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params.yaml: serve.port: 'x' is not allowed"):
        read_settings(params_file(tmp_path, "serve:\n  port: x\n"), {})


def test_a_token_in_the_environment_is_no_param() -> None:
    assert read_settings(None, {"GRAFT_SERVE_TOKEN": "secret"}).serve.token_file is None
