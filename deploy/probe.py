"""Ask the server on this machine whether it is ready: python -m deploy.probe [--live].

Exit code 0 says yes. It imports nothing but the standard library, as a container runs it every few seconds.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Sequence

SECONDS = 2.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask on the port of GRAFT_SERVE_PORT, 8000 where it is unset; no health check needs a token."""
    live = "--live" in (sys.argv[1:] if arguments is None else arguments)
    sys.exit(fault_of(int(os.environ.get("GRAFT_SERVE_PORT", "8000")), "live" if live else "ready"))


def fault_of(port: int, what: str) -> str | None:
    """Why the server is not live or not ready; None: it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", f"/v2/health/{what}")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as err:
        return f"no server answers on port {port}: {err}"
    finally:
        connection.close()
    return None if status == 200 else f"the server on port {port} is not {what} (status {status})"


if __name__ == "__main__":
    main()
