"""What a run pins before its first stage, as files that DVC knows as dependencies.

data/engine.json    the versions that can change a pixel or a feature
data/weights.json   which weights params.yaml leads to, by content
data/source.json    which table lists the items and which suite of the user's judges them, by content
data/splits.lock    the sides that earlier releases were judged with
data/champion.json  which releases the model is compared with (`flows.champion_pin`)
data/test_use.json  which judgement on the test set this is (`flows.test_set_ledger`, before evaluate)

Beside them two files of the user's, which a run only completes by their header where they are absent:
data/corrections.csv and data/forgotten.csv (`tasks.overlay`).
"""

from __future__ import annotations

from pathlib import Path

from flows.state import REF, StateRef
from flows.test_set_ledger import test_use_bytes
from tasks.backbones.engine import installed_engine
from tasks.backbones.weights import locate
from tasks.digests import file_sha256, value_sha256
from tasks.errors import DataError, ParamsError, StageInputError, UserError
from tasks.overlay import corrections_bytes, forgotten_bytes, read_forgotten
from tasks.params import Params
from tasks.reports import ChampionPin, write_bytes
from tasks.reports.pins import SourcePin, WeightsPin
from tasks.workspace import Workspace


def memory_path(params: Params) -> str:
    """Where refs/graft/state keeps the sides of these split params; other params, other memory."""
    return f"splits/{value_sha256(params.split.model_dump(mode='json'))[:24]}.parquet"


def write_inputs(workspace: Workspace, params: Params, pin: ChampionPin | None = None) -> None:
    """Write every pinned file whose content changed; takes and raises what `pinned_inputs` does."""
    for path, data in pinned_inputs(workspace, params, pin).items():
        _write_changed(path, data)


def write_split_memory(workspace: Workspace, params: Params) -> None:
    """Write data/splits.lock alone; raises what `split_memory_bytes` does."""
    _write_changed(workspace.splits_lock, split_memory_bytes(workspace, params))


def _write_changed(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)


def pinned_inputs(workspace: Workspace, params: Params, pin: ChampionPin | None = None) -> dict[Path, bytes]:
    """The content of every pinned file, by path; nothing is written. What people decided stays theirs.

    Args:
        pin: what the model is compared with; None: what data/champion.json says, or nothing.
    Raises:
        WeightsError: the weights file is missing.
        DataError: the table is missing.
        ParamsError: the user's suite is missing.
        WorkspaceError: no git checkout.
    """
    source = locate(params.backbone, workspace.root)
    headers = {workspace.corrections: corrections_bytes(), workspace.forgotten: forgotten_bytes()}
    return {
        workspace.engine: installed_engine().to_json().encode(),
        workspace.weights_pin: WeightsPin(name=source.name, identity=source.identity).to_json().encode(),
        workspace.source_pin: source_pin(workspace, params).to_json().encode(),
        workspace.splits_lock: split_memory_bytes(workspace, params),
        workspace.champion_pin: (pin or standing_champion(workspace)).to_json().encode(),
        workspace.test_use: test_use_bytes(workspace),
        **{path: header for path, header in headers.items() if not path.exists()},
    }


def standing_champion(workspace: Workspace) -> ChampionPin:
    """data/champion.json as it stands; of nothing where it is missing or unreadable."""
    try:
        return ChampionPin.read(workspace.champion_pin)
    except StageInputError:
        return ChampionPin()


def source_pin(workspace: Workspace, params: Params) -> SourcePin:
    """The table that lists the items and the user's suite, by content.

    Raises:
        DataError: the table is no file.
        ParamsError: the suite is no file.
    """
    table, suite = params.data.table, params.validate_.suite
    return SourcePin(
        table_sha256=_named_file_sha256("data.table", workspace.resolve(table), DataError) if table else None,
        suite_sha256=_named_file_sha256("validate.suite", workspace.resolve(suite), ParamsError) if suite else None,
    )


def _named_file_sha256(key: str, path: Path, error: type[UserError]) -> str:
    if not path.is_file():
        raise error(f"{key}: {path} does not exist or is no file; correct it in params.yaml or set it to null")
    return file_sha256(path)


def split_memory_bytes(workspace: Workspace, params: Params) -> bytes:
    """The remembered sides as a Parquet file, under today's class names and without what was forgotten.

    An empty table before the first release.

    Raises:
        StageInputError: what the state holds cannot be read.
        DataError: data/forgotten.csv cannot be read.
    """
    from tasks.tables import SPLIT_MEMORY, parse_table, table_bytes

    remembered, aliases = StateRef(workspace.root).read(memory_path(params)), params.data.label_aliases
    if remembered is None:
        return table_bytes(SPLIT_MEMORY.empty_table())
    table = parse_table(remembered, SPLIT_MEMORY, f"{REF}:{memory_path(params)}")
    forgotten = {row.sha256 for row in read_forgotten(workspace.forgotten)}
    if forgotten:
        table = table.filter([sha256 not in forgotten for sha256 in table["sha256"].to_pylist()])
    if aliases:
        # A renamed class is the class it was: split finds its output index under the new name.
        place = SPLIT_MEMORY.get_field_index("label")
        labels = [aliases.get(label, label) for label in table["label"].to_pylist()]
        table = table.set_column(place, SPLIT_MEMORY.field(place), [labels])
    return table_bytes(table)
