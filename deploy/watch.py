"""What a server answers with: the release that it begins with, and those that the store's pointers name later."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

from deploy.engine import Engine
from deploy.metrics import Metrics
from deploy.model import Model, load_model
from deploy.pointers import PROD, SHADOW, Follower, RefusedRelease, UnreadablePointer, read_pointer
from deploy.settings import Settings
from tasks.decoding_memory import return_freed_memory
from tasks.errors import ReleaseError
from tasks.release import MANIFEST, QUALIFICATION
from tasks.reports.prod_pointer import ProdPointer

LOG = logging.getLogger("graft.watch")
JOIN_SECONDS = 1.0


def load_first(settings: Settings) -> Model:
    """The release to begin with: the folder that the settings name, else what the store's `prod` names.

    Raises:
        ReleaseError: there is none, or it must not be served; the text says what to do.
    """
    if settings.release is not None:
        return _load_folder(settings, settings.release)
    store = settings.store
    if not store.is_dir():
        raise ReleaseError(
            f"there is no release store {store}: `graft adapt --publish` makes it; publish.store of params.yaml, "
            "GRAFT_STORE or --store names another, and --release a single release"
        )
    pointer = read_pointer(store / PROD)
    if pointer is None:
        raise ReleaseError(
            f"nothing is in production in {store}: `graft promote VERSION --reason TEXT` puts a version there"
        )
    if not (store / pointer.manifest_sha256).is_dir():
        raise ReleaseError(
            f"{store / PROD} names release {pointer.manifest_sha256[:12]} (v{pointer.version}), which is not in the "
            "store: bring it there, or `graft rollback` to one that is"
        )
    return load_pointed(settings, pointer)


def load_pointed(settings: Settings, pointer: ProdPointer, max_batch: int | None = None) -> Model:
    """Check and open what a pointer of the store names.

    Raises:
        ReleaseError: it must not be served.
    """
    digest, serve = pointer.manifest_sha256, settings.serve
    key = Path(serve.verify_key) if serve.verify_key else None
    return load_model(
        settings.store / digest, str(pointer.version), digest, key, max_batch=max_batch or serve.max_batch
    )


def _load_folder(settings: Settings, folder: Path) -> Model:
    if not (folder / MANIFEST).is_file():
        raise ReleaseError(f"{folder} holds no release (no {MANIFEST}); --release names a release's own folder")
    qualification, serve = folder / QUALIFICATION, settings.serve
    if not qualification.exists():
        qualification = _workspace_qualification(folder)
        LOG.info("%s is qualified by %s", folder, qualification)
    key = Path(serve.verify_key) if serve.verify_key else None
    return load_model(folder, None, None, key, qualification, serve.max_batch)


def _workspace_qualification(folder: Path) -> Path:
    """Of models/release in a workspace, which `qualify` judged from outside."""
    place = folder.absolute()
    file = place.parent.parent / "reports" / QUALIFICATION
    if (place.parent.name, place.name) == ("models", "release") and file.is_file():
        return file
    raise ReleaseError(
        f"{folder} has no {QUALIFICATION}, and only a qualified release is served: name a folder of the release store, "
        "or models/release of a workspace in which `graft adapt` released it"
    )


class Watch:
    """Looks at the store's pointers again and again, and has the engine follow; a bad release changes nothing.

    Loading and checking happen in this thread, while the engine answers with what it has.
    """

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics) -> None:
        self._settings, self._engine, self._metrics = settings, engine, metrics
        pause, key = settings.serve.watch_seconds, settings.serve.verify_key
        beside = [Path(key)] if key else []
        self._prod = Follower(settings.store, PROD, self._load, engine.model, beside, pause)
        self._shadow = Follower(settings.store, SHADOW, self._load_shadow, None, beside, pause)
        self._told: dict[str, str] = {}
        self._prod_was_there = True
        self._untidy = True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look; a server that was given a release folder follows nothing."""
        if self._settings.release is None:
            self._thread.start()

    def stop(self) -> None:
        """Look no more; a release that is being checked is not taken over."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)

    def look(self) -> None:
        """Look once at both pointers. Never raises.

        What was freed by the load before goes back to the system now, when the batches of the old release are over:
        a server of mobilenet_v2 stays at 150 MB where it would settle at 260.
        """
        if self._untidy:
            return_freed_memory()
            self._untidy = False
        for name, look, follower in (
            (PROD, self._look_at_prod, self._prod),
            (SHADOW, self._look_at_shadow, self._shadow),
        ):
            try:
                look()
                self._told.pop(name, None)
            except UnreadablePointer as err:
                LOG.warning("%s; the server goes on as it was", err)
            except Exception as err:
                self._tell(name, err)
            self._metrics.pointer_refused(name, not follower.served)

    def _tell(self, name: str, err: Exception) -> None:
        """With its trace once; a fault that lasts would write that at every look."""
        text = f"{type(err).__name__}: {err}"
        if self._told.get(name) != text:
            self._told[name] = text
            LOG.error("%s of the store could not be looked at; the server goes on as it was", name, exc_info=err)

    def _follow(self) -> None:
        while not self._ended.is_set():
            self.look()
            self._ended.wait(self._settings.serve.watch_seconds)

    def _look_at_prod(self) -> None:
        pointer = self._prod.named()
        if pointer is None:
            if self._prod_was_there:
                LOG.warning(
                    "%s is gone; v%s goes on answering", self._settings.store / PROD, self._engine.model.version
                )
            self._prod_was_there = False
            return
        self._prod_was_there = True
        try:
            model = self._prod.change(pointer)
        except RefusedRelease as err:
            self._metrics.reload("refused", PROD)
            LOG.error("v%d is refused, v%s goes on answering: %s", pointer.version, self._engine.model.version, err)
            return
        if model is not None and not self._ended.is_set():
            self._engine.take_over(model)
            self._metrics.reload("accepted", PROD)
            LOG.info("v%s (%s) answers from now on", model.version, model.digest[:12])

    def _look_at_shadow(self) -> None:
        shadow, pointer = self._engine.shadow, self._shadow.named()
        if pointer is None:
            if shadow.model is not None:
                shadow.take_over(None)
                LOG.info("there is no shadow any more")
            self._shadow.drop()
            return
        try:
            model = self._shadow.change(pointer)
        except RefusedRelease as err:
            self._metrics.reload("refused", SHADOW)
            kept = f"v{shadow.model.version} stays the shadow" if shadow.model else "there is no shadow"
            LOG.error("v%d is refused as the shadow, %s: %s", pointer.version, kept, err)
            return
        if model is not None and not self._ended.is_set():
            shadow.take_over(model)
            self._metrics.reload("accepted", SHADOW)
            LOG.info("v%s (%s) is the shadow from now on", model.version, model.digest[:12])

    def _load(self, pointer: ProdPointer) -> Model:
        self._untidy = True
        return load_pointed(self._settings, pointer)

    def _load_shadow(self, pointer: ProdPointer) -> Model:
        """What answers already needs no second copy."""
        present = self._engine.model
        if present.digest == pointer.manifest_sha256:
            return replace(present, version=str(pointer.version))
        self._untidy = True
        return load_pointed(self._settings, pointer, max_batch=1)
