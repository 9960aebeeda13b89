"""`graft sign` and `graft key new`: who vouches for a release."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options import WorkspaceOption
from tasks.stage import say
from tasks.workspace import Workspace, expanded

key_app = typer.Typer(help="Keys that releases are signed with.", no_args_is_help=True)


def add_sign_commands(app: typer.Typer) -> None:
    """Have the app know them."""
    app.command()(sign)
    app.add_typer(key_app, name="key")


@key_app.command("new")
def key_new(file: Annotated[str, typer.Argument(metavar="FILE", help="Where the private key goes.")]) -> None:
    """Write a new private key into FILE and its public key into FILE.pub; neither is ever overwritten."""
    from flows.signing import new_key

    private = expanded(file).absolute()
    public, hint = new_key(private)
    say(f"wrote the private key {private}: keep it off the servers, and out of git (publish.signing_key names it)")
    say(f"wrote the public key {public}: servers trust what it verifies (serve.verify_key names it); {hint[:12]}")


def sign(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="v3, 3, v3.0.0, or how the release's digest begins.")
    ],
    key: Annotated[
        str | None, typer.Option("--key", metavar="FILE", help="Private key; default: publish.signing_key.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Sign a published version in the release store, in place of a signature that it may have."""
    from flows.signing import configured_key, sign_stored, signing_key
    from flows.versions import among, version_name, versions
    from tasks.errors import UserError
    from tasks.params import load_params

    here = Workspace.find(workspace)
    params = load_params(here.params)
    private = signing_key(expanded(key)) if key else configured_key(here, params)
    if private is None:
        raise UserError("no key to sign with: give --key FILE, or name one in params.yaml (publish.signing_key)")
    wanted = among(versions(here.root), version)
    file = sign_stored(here.store(params.publish.store), wanted.manifest_sha256, private)
    say(f"signed {version_name(wanted.version)}: {file}")
