"""Every option of the service as one frozen value. Knows no flags and no pipeline options."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import URL

from fooocusapi.api_keys import ApiKey, key_with_every_scope


class Settings(BaseModel):
    """Options of the service.

    Attributes:
        base_url: Prefix of result addresses, without a trailing slash.
        preload: Load the models before the first request is accepted.
        queue_size: Most jobs that wait or run at a time.
        queue_history: Most finished jobs that are kept, with their files; 0 = no limit.
        retention_days: Finished jobs are kept so long, with their files; 0 = no limit.
        retention_bytes: Pictures of finished jobs may take so much room; 0 = no limit.
        persistent: The history shows jobs of earlier runs of the server, too.
        max_attempts: A job whose runs have ended the process so often is not begun again.
        database: SQLAlchemy address of the job store; ``None`` = a file in the output folder.
        plain_base64: Leave the ``data:`` prefix out of base64 results.
        webhook_url: Told of every ended job whose request names nobody else.
        public_webhooks_only: Requests may name globally routable receivers only.
        webhook_secrets: What webhooks are signed with.
        cancel_on_disconnect: A job whose caller waits and hangs up is cancelled.
        allow_private_urls: Pictures may be fetched from private networks and this host, too.
        strict: Refuse what is otherwise tolerated with a warning.
        save_metadata: Whether records may be embedded into pictures at all.
        image_log: Whether a page per day shows its pictures.
        previews: Whether pictures of unfinished images are made at all.
        max_body_bytes: Largest request body.
        apikey: A key with every scope.
        api_keys: Further keys.
        rate_limit: Requests per minute and key; 0 = any number.
        cors_origins: Origins of pages that may call; empty = any.
        step_timeout_s: How long a run may show no sign of life; 0 = any time.
        unload_after_s: After so long without work all models are let go of; 0 = never.
        shutdown_grace_s: How long a running image may go on after the server is told to stop.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    outputs: Path
    host: str = "127.0.0.1"
    port: int = Field(default=8888, ge=0, le=65535)
    base_url: str = "http://127.0.0.1:8888"
    log_level: str = "info"
    preload: bool = False
    queue_size: int = Field(default=100, ge=1)
    queue_history: int = Field(default=0, ge=0)
    retention_days: int = Field(default=0, ge=0)
    retention_bytes: int = Field(default=0, ge=0)
    persistent: bool = False
    max_attempts: int = Field(default=2, ge=1)
    database: URL | None = None
    apikey: str | None = None
    api_keys: tuple[ApiKey, ...] = ()
    rate_limit: int = Field(default=0, ge=0)
    plain_base64: bool = False
    webhook_url: str | None = None
    public_webhooks_only: bool = False
    webhook_secrets: tuple[bytes, ...] = Field(default=(), repr=False)
    cancel_on_disconnect: bool = False
    allow_private_urls: bool = False
    strict: bool = False
    save_metadata: bool = True
    image_log: bool = True
    previews: bool = True
    max_body_bytes: int = Field(default=100 * 1024 * 1024, ge=1)
    cors_origins: tuple[str, ...] = ()
    shutdown_grace_s: float = Field(default=30.0, ge=0.0)
    step_timeout_s: float = Field(default=600.0, ge=0.0)
    unload_after_s: float = Field(default=0.0, ge=0.0)

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """Every key that is let in."""
        main = () if self.apikey is None else (key_with_every_scope(self.apikey),)
        return (*main, *self.api_keys)

    @property
    def has_keys(self) -> bool:
        """Whether callers need a key."""
        return bool(self.keys)
