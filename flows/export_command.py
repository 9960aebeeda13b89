"""`graft export` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.options import JsonOption, WorkspaceOption
from flows.registry_commands import answered
from flows.score_command import ReleaseOption, VersionOption
from tasks.workspace import expanded

if TYPE_CHECKING:
    from tasks.triton_repository import TritonExport


def export(
    format_: Annotated[
        Literal["triton"], typer.Option("--format", help="triton: a model repository for NVIDIA's Triton server.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The repository; made where missing.")],
    version: VersionOption = None,
    release: ReleaseOption = None,
    instances: Annotated[
        int, typer.Option("--instances", metavar="N", min=1, help="Of the model in one Triton, of one thread each.")
    ] = 1,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a release for another server, from the same ONNX file, after the checks that a server makes.

    The exported version is the one that Triton serves; export an earlier one again to go back. Preprocessing is the
    client's (preprocess.json beside the model); encoded images are what `graft serve` takes.
    """

    def run() -> TritonExport:
        from flows.chosen_release import choose_release, number_of, params_around
        from tasks.triton_repository import export_to_triton

        here, params = params_around(workspace, needed=release is None)
        chosen = choose_release(here, params, release, version)
        most = params.serve.limits.images_per_request
        return export_to_triton(chosen.servable, expanded(output).absolute(), number_of(here, chosen), most, instances)

    report = answered(run, as_json)
    print(report.to_json() if as_json else f"{_text(report)}\n", end="", flush=True)


def _text(report: TritonExport) -> str:
    served = f"release {report.release[:12]} as version {report.version} of {report.model}"
    if report.state == "unchanged":
        return f"{report.folder} held {served} already; nothing was done"
    return f"{report.folder}: {served}; tritonserver --model-repository={Path(report.folder).parent}"
