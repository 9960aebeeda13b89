"""Serve a release over HTTP.

    python -m deploy.server [--release DIR | --store DIR] [--host H] [--port N] [--params FILE] [--set serve.key=value]
                            [--workers N]

What is served is the release that the store's pointer `prod` names, also after it changes, or a release folder.
Settings come from params.yaml's section `serve`, the environment (GRAFT_SERVE_PORT, GRAFT_SERVE_LIMITS__BODY_MB,
GRAFT_STORE, GRAFT_RELEASE) and the options, each over the one before. SIGTERM ends the server when what it has taken is
answered; a second one ends it at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from deploy.listening import listen, reached_by_others, shown_address
from deploy.settings import Flags, Override, Settings, flag_overrides, read_settings
from tasks.errors import GraftError, UserError, counted
from tasks.threads import usable_cores

_logger = logging.getLogger("graft.server")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; a user's mistake ends in one message and exit code 1."""
    told = _parser().parse_args(arguments)
    try:
        params = Path("params.yaml")
        flags = _flags(told)
        settings = read_settings(params if params.is_file() else None, os.environ, flags)
        serve(settings, source=flags.params or (params if params.is_file() else None))
    except GraftError as err:
        sys.exit(f"graft: {err}")
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] in ("deploy", "tasks"):
            raise
        sys.exit(f"graft: serving needs {err.name}: pip install 'graft[serve]'")


def serve(settings: Settings, source: Path | None = None) -> None:
    """Serve until a signal has ended it.

    Args:
        source: the params.yaml that was read, for the log.
    Raises:
        GraftError: the address cannot be listened on, or there is no release that may be served.
    """
    from deploy.request_log import configure_logging

    configure_logging(settings.serve.log_format)
    _allow_many_files()
    workers = settings.serve.workers or default_workers()
    with listen(settings.serve.host, settings.serve.port) as sock:
        unguarded = reached_by_others(sock) and not _asks_for_token(settings)
        ready = _announcer(shown_address(sock), workers, unguarded, source)
        if workers == 1:
            _serve_here(settings, sock, ready)
        else:
            from deploy.workers import run_workers

            run_workers(settings, sock, workers, ready)
    _logger.info("ended")


def default_workers(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """One worker for every core that may be used, by affinity and by the container's share of processor time."""
    quota = _processor_quota(cgroup)
    return max(1, min(usable_cores(), int(quota) if quota else usable_cores()))


def _processor_quota(cgroup: Path) -> float | None:
    """Processors that the control group may use at a time (version 2: cpu.max, 1: cpu.cfs_*); None without a limit."""
    try:
        if (cgroup / "cpu.max").exists():
            most, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        else:
            most = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        return float(most) / float(period) if most not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _serve_here(settings: Settings, sock: socket.socket, ready: Callable[[dict[str, Any]], None]) -> None:
    from deploy.serving import Serving

    serving = Serving(settings, sock)
    model = serving.model
    serving.run(lambda: ready({"model": model.name, "version": model.version, "digest": model.digest}))


def _asks_for_token(settings: Settings) -> bool:
    from deploy.auth import TOKEN

    return settings.serve.token_file is not None or TOKEN in os.environ


def _announcer(address: str, workers: int, unguarded: bool, source: Path | None) -> Callable[[dict[str, Any]], None]:
    def announce(served: dict[str, Any]) -> None:
        text = f"{address} serves {served['model']} version {served['version']} (digest {served['digest'][:12]}), "
        _logger.info(
            text + counted(workers, "worker"), extra={"fields": {"address": address, **served, "workers": workers}}
        )
        _logger.info("settings: %s", source.absolute() if source else "the defaults; there is no params.yaml here")
        if unguarded:
            _logger.warning(
                "whoever reaches %s is answered: no token is asked for; give serve.token_file, or listen on 127.0.0.1",
                address,
            )

    return announce


def _allow_many_files() -> None:
    """A connection is a file; the soft limit of many systems is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _flags(told: argparse.Namespace) -> Flags:
    if told.params is not None and not told.params.is_file():
        raise UserError(f"--params {told.params} is no file; leave it out for ./params.yaml or the defaults")
    overrides = flag_overrides(told.set)
    for name in ("host", "port", "workers"):
        value = getattr(told, name)
        if value is not None:
            overrides.append(Override((name,), value, f"--{name}"))
    return Flags(told.params, told.store, told.release, tuple(overrides))


class _Parser(argparse.ArgumentParser):
    """Ends as every other command of `graft` ends at a user's mistake; 2 is a refusal there."""

    def error(self, message: str) -> NoReturn:
        sys.exit(f"graft: {message}; `graft serve --help` lists the options")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="graft serve",
        description="Serve a release over HTTP.",
        epilog="Settings: params.yaml's section serve, then GRAFT_SERVE_... variables, then these options.",
    )
    parser.add_argument("--release", type=Path, metavar="DIR", help="a release folder, served in place of the store's")
    parser.add_argument("--store", type=Path, metavar="DIR", help="the release store whose pointer prod is followed")
    parser.add_argument("--host", metavar="H", help="address to listen on (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--port", type=int, metavar="N", help="port to listen on (default: 8000; 0 takes a free one)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for every usable core)")
    parser.add_argument("--params", type=Path, metavar="FILE", help="params.yaml (default: the one where you stand)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="serve.key=value", help="change a param; may be repeated"
    )
    return parser


if __name__ == "__main__":
    main()
