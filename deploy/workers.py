"""Several serving processes behind one socket: started, watched, started again, and ended together."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploy.listening import refuse_new_connections
from deploy.metrics import FOLDER, forget_worker
from deploy.settings import Settings
from deploy.worker_order import Order
from tasks.errors import GraftError, ReleaseError
from tasks.threads import thread_environment

SETTLED_SECONDS = 10.0
"""A worker that lived so long did not die at once."""
MOST_EARLY_DEATHS = 5
LONGEST_PAUSE_SECONDS = 5.0
GRACE_SECONDS = 15.0
"""Beyond the drain, until workers that do not end are killed."""
LOOK_SECONDS = 1.0
"""Between two looks for workers that hang."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_logger = logging.getLogger("graft.server")


class Workers:
    """The parent of `count` workers. It serves nothing itself, so nothing that a client sends can end it."""

    def __init__(self, settings: Settings, sock: socket.socket, count: int, folder: Path) -> None:
        self._settings, self._sock, self._count, self._folder = settings, sock, count, folder
        self._board = self._order(0).board()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._served: dict[int, dict[str, Any]] = {}
        self._stop = asyncio.Event()
        self._began = False

    async def run(self, ready: Callable[[dict[str, Any]], None]) -> None:
        """Keep the workers alive until a signal ends them; `ready` is told once what they serve.

        Raises:
            ReleaseError: what is to be served cannot be, told by the first worker that found it.
            GraftError: a worker died at once, several times in a row, and no other one serves.
        """
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._told_to_end, number)
        keepers = [asyncio.create_task(self._keep(number, ready)) for number in range(self._count)]
        stopping, looking = asyncio.create_task(self._stop.wait()), asyncio.create_task(self._end_hung())
        try:
            done, _ = await asyncio.wait([stopping, looking, *keepers], return_when=asyncio.FIRST_COMPLETED)
            for one in done - {stopping}:
                one.result()
        finally:
            self._stop.set()
            looking.cancel()
            await self._end()
            for task in (stopping, looking, *keepers):
                task.cancel()
            await asyncio.gather(stopping, looking, *keepers, return_exceptions=True)

    def _told_to_end(self, number: int) -> None:
        if not self._stop.is_set():
            self._stop.set()
            return
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(128 + number)

    async def _keep(self, number: int, ready: Callable[[dict[str, Any]], None]) -> None:
        """One worker after another in the same place; what a damaged store refuses ends none that serves already."""
        early_deaths = 0
        while not self._stop.is_set():
            started = time.monotonic()
            process = await self._start(number)
            await self._watch(number, process, ready)
            code = await process.wait()
            self._forget(number, process.pid)
            if self._stop.is_set():
                return
            early_deaths = early_deaths + 1 if time.monotonic() - started < SETTLED_SECONDS else 1
            if early_deaths >= MOST_EARLY_DEATHS and not self._served:
                raise GraftError(
                    f"worker {number} died {early_deaths} times within {SETTLED_SECONDS:g} s of its start (the "
                    f"last one {_ending(code)}); its lines above say why"
                )
            pause = min(LONGEST_PAUSE_SECONDS, 0.1 * 2 ** (early_deaths - 1))
            _logger.error("worker %d (process %d) %s; starting another", number, process.pid, _ending(code))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        safe_path = ["-P"] if sys.flags.safe_path else []
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *safe_path,
            "-m",
            "deploy.worker_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[self._sock.fileno()],
            env={**os.environ, **thread_environment(1), FOLDER: str(self._folder)},
            start_new_session=True,  # a terminal's Ctrl-C comes from the parent alone, once
        )
        self._processes[number] = process
        assert process.stdin is not None
        with suppress(ConnectionError):
            process.stdin.write(self._order(number).to_line())
            await process.stdin.drain()
        if self._stop.is_set():
            process.terminate()
        return process

    async def _watch(
        self, number: int, process: asyncio.subprocess.Process, ready: Callable[[dict[str, Any]], None]
    ) -> None:
        """Read what a worker reports until its stdout ends."""
        assert process.stdout is not None
        async for line in process.stdout:
            told = json.loads(line)
            if "fault" in told and not self._began:
                raise ReleaseError(told["fault"])
            if "fault" in told:
                _logger.error("worker %d cannot serve: %s", number, told["fault"])
                continue
            self._served[number] = told["ready"]
            if not self._began and len(self._served) == self._count:
                self._began = True
                ready(told["ready"])

    async def _end_hung(self) -> None:
        """Kill a worker that served and gives no sign of life any more; `_keep` starts another.

        Looks are added up, not the clock: where parent and workers were stopped together, no worker hung.
        """
        most = self._settings.serve.hung_seconds
        pause = min(LOOK_SECONDS, most / 4)
        last: dict[int, tuple[int, int]] = {}
        silent: dict[int, float] = {}
        while True:
            await asyncio.sleep(pause)
            beats = self._board.beats()
            for number in self._served:
                process = self._processes[number]
                sign = process.pid, beats[number]
                silent[number] = silent[number] + pause if sign == last.get(number) else 0.0
                last[number] = sign
                if silent[number] >= most:
                    silent[number] = 0.0
                    _logger.error("worker %d (process %d) hangs: no sign of it for %g s", number, process.pid, most)
                    with suppress(ProcessLookupError):
                        process.kill()

    def _forget(self, number: int, pid: int) -> None:
        self._processes.pop(number, None)
        self._served.pop(number, None)
        self._board.away(number)
        forget_worker(pid, self._folder)

    async def _end(self) -> None:
        """Have every worker drain; end what does not."""
        serve = self._settings.serve
        for process in list(self._processes.values()):
            with suppress(ProcessLookupError):
                process.terminate()
        await asyncio.sleep(serve.unready_seconds if self._began else 0)
        refuse_new_connections(self._sock)
        waiting = [asyncio.create_task(process.wait()) for process in self._processes.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=serve.drain_seconds + GRACE_SECONDS)
        for process in list(self._processes.values()):
            if process.returncode is None:
                _logger.error("process %d did not end; killed", process.pid)
                process.kill()
                await process.wait()

    def _order(self, number: int) -> Order:
        return Order(self._settings, self._sock.fileno(), self._folder, number, self._count)


def run_workers(settings: Settings, sock: socket.socket, count: int, ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve with several processes until a signal; as `Workers.run`."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK | os.X_OK) else None
    try:
        shared = tempfile.TemporaryDirectory(prefix="graft-serve-", dir=place, ignore_cleanup_errors=True)
    except OSError as err:
        raise GraftError(
            f"no folder for what workers share can be made ({err.strerror}); give one that may be written to (TMPDIR), "
            "or serve with --workers 1"
        ) from err
    with shared as folder:
        asyncio.run(_run(settings, sock, count, Path(folder), ready))


async def _run(
    settings: Settings, sock: socket.socket, count: int, folder: Path, ready: Callable[[dict[str, Any]], None]
) -> None:
    await Workers(settings, sock, count, folder).run(ready)


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
