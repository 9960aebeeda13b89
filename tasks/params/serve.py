"""How a release is served; no result and no stage depends on it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.params.section import PathText, Section, Share
from tasks.params.validate import ImageFormat
from tasks.preprocess import DEFAULT_MAX_PIXELS

Port = Annotated[int, Field(ge=0, le=65535)]


class ServeLimits(Section):
    """What a client may ask for; beyond it the request is refused, before its cost."""

    body_mb: float = Field(20.0, gt=0, le=1024, description="Largest request body, megabytes (10^6 bytes).")
    uploads_mb: float = Field(
        256.0, gt=0, le=65536, description="Bodies that are still coming, of one worker; beyond it the oldest goes."
    )
    header_kb: float = Field(16.0, ge=1, le=1024, description="Largest request line and headers, kilobytes.")
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1, description="Most pixels of an image, judged from its header.")
    formats: tuple[ImageFormat, ...] = Field(
        ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"), min_length=1, description="Allowed image formats."
    )
    frames: Literal["first", "single"] = Field("first", description="Of several frames the first, or a refusal.")
    json_depth: int = Field(16, ge=4, le=256, description="Deepest nesting of a JSON body.")
    request_mpixels: float = Field(
        100.0, gt=0, le=100_000, description="Most pixels of several images in one request together, millions."
    )
    images_per_request: int = Field(64, ge=1, le=4096, description="Most images in one inference request.")
    connections: int = Field(1000, ge=1, description="Open connections of a worker; more wait in the kernel's queue.")
    header_seconds: float = Field(10.0, gt=0, le=3600, description="A request's headers must have come by then.")
    body_seconds: float = Field(30.0, gt=0, le=3600, description="A request's body must have come by then.")
    send_seconds: float = Field(30.0, gt=0, le=3600, description="A client must have taken its answer by then.")
    answer_seconds: float = Field(
        60.0, gt=0, le=3600, description="A request that is not answered by then gets 503, and no more work is done."
    )
    idle_seconds: float = Field(30.0, gt=0, le=3600, description="A connection without a request is closed then.")


class ShadowParams(Section):
    """A second release (the store's `shadow` pointer) that answers a share of the requests, for comparison only."""

    share: Share = Field(1.0, description="Share of the requests that it sees, where there is a shadow.")
    queue: int = Field(64, ge=1, le=65536, description="Images that wait for it; more are dropped and counted.")
    kept: int = Field(1000, ge=0, le=1_000_000, description="Disagreements that are kept, the latest.")


class CaptureParams(Section):
    """A share of the requests kept as Parquet, for drift, labelling and replay."""

    share: Share = Field(0.0, description="Share of the requests that are kept; 0 keeps none.")
    content: Literal["scores", "embeddings", "inputs"] = Field(
        "scores", description="scores: answers and the image's sha256; embeddings: those too; inputs: the image too."
    )
    folder: PathText = Field("captures", description="Where the Parquet files go.")
    keep_days: float = Field(7.0, gt=0, le=3650, description="Files older than that are deleted.")
    max_gb: float = Field(10.0, gt=0, le=100_000, description="All files together, gigabytes; the oldest go first.")
    rotate_mb: float = Field(64.0, gt=0, le=4096, description="A file is closed at this size, megabytes.")
    rotate_seconds: float = Field(300.0, gt=0, le=86400, description="And at this age at the latest.")
    queue: int = Field(256, ge=1, le=65536, description="Requests that wait to be written; more are dropped, counted.")
    queue_mb: float = Field(64.0, gt=0, le=4096, description="And their bytes in a worker's memory, megabytes.")


class ServeParams(Section):
    """`graft serve` and `python -m deploy.server`."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for every one.")
    port: Port = Field(8000, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(0, ge=0, le=1024, description="Server processes; 0: one per usable core.")
    threads: int = Field(1, ge=1, le=64, description="Images that one worker decodes and answers at a time.")
    max_batch: int = Field(4, ge=1, le=1024, description="Most images in one run of the model; 4 stay in its cache.")
    queue: int = Field(16, ge=1, le=65536, description="Images that a worker admits; beyond it 503 with Retry-After.")
    retry_after_seconds: int = Field(1, ge=1, le=3600, description="What Retry-After says.")
    unready_seconds: float = Field(
        0.0, ge=0, le=3600, description="After SIGTERM readiness is false so long before new connections are refused."
    )
    drain_seconds: float = Field(
        30.0, ge=0, le=3600, description="After SIGTERM what was admitted is answered so long."
    )
    hung_seconds: float = Field(
        30.0, ge=1, le=3600, description="A worker process that gives no sign of life for so long is replaced."
    )
    top_k: int = Field(5, ge=1, le=1000, description="Labels in an answer of /predict.")
    abstain_below: Share = Field(0.0, description="A highest probability below it makes the answer an abstention.")
    watch_seconds: float = Field(1.0, ge=0.05, le=3600, description="How often the store's pointers are looked at.")
    token_file: PathText | None = Field(None, description="File with the token that clients must send; null: none.")
    open_metrics: bool = Field(False, description="Let /metrics be read without the token.")
    verify_key: PathText | None = Field(None, description="Public key that a release must be signed by; null: none.")
    log_format: Literal["text", "json"] = Field("json", description="Lines on stderr: one JSON object each, or text.")
    limits: ServeLimits = Field(ServeLimits(), description="What a client may ask for.")
    shadow: ShadowParams = Field(ShadowParams(), description="A second release beside the one in production.")
    capture: CaptureParams = Field(CaptureParams(), description="Requests that are kept.")
