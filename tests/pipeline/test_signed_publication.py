"""From a run's release to a server: signed on its way into the store, and asked for the signature there."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.settings import Flags, read_settings
from deploy.watch import load_first
from flows.params_file import Edit, edit_params
from flows.publish import publish
from flows.signing import new_key
from tasks.errors import ReleaseError
from tasks.release import SIGNATURE
from tasks.workspace import Workspace


def test_a_run_s_release_is_signed_and_served_to_those_who_ask(finished: Workspace, tmp_path: Path) -> None:
    public, _ = new_key(tmp_path / "signing.pem")
    edits = [
        Edit(("publish", "signing_key"), str(tmp_path / "signing.pem")),
        Edit(("serve", "verify_key"), str(public)),
    ]
    params, _ = edit_params(finished, edits)
    stored = publish(finished, params)
    settings = read_settings(finished.params, {}, Flags(release=stored))
    assert load_first(settings).digest == stored.name
    (stored / SIGNATURE).unlink()
    with pytest.raises(ReleaseError, match="is not signed"):
        load_first(settings)
