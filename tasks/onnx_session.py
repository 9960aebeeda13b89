"""Opening an ONNX graph as every stage and every server does: one thread a session, on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.errors import StageInputError

PROVIDER = "CPUExecutionProvider"


def open_session(graph: Path | bytes) -> Any:
    """An ONNX Runtime session of one thread, which does not spin while it waits; several callers may run it at once.

    Args:
        graph: the file, or its content.
    Raises:
        StageInputError: it is no graph that ONNX Runtime can open.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(graph if isinstance(graph, bytes) else str(graph), options, providers=[PROVIDER])
    except Exception as err:
        named = "the graph" if isinstance(graph, bytes) else graph
        reason = " ".join(str(err).split())[:200]
        raise StageInputError(f"{named} is no graph that ONNX Runtime can open: {reason}; run `graft adapt`") from err
