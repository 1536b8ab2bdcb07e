"""How many calls an API key may make."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core import metrics
from core.errors import ConfigurationError
from core.settings import Settings

TIMEOUT_SECONDS = 0.5
# So long nobody is counted after the store of the counters did not answer: it must not slow every call down.
BLIND_SECONDS = 5.0

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Spent:
    """Whether a call is granted; the RateLimit header fields; if it is not, seconds until it would be."""

    granted: bool = True
    fields: Mapping[str, str] = field(default_factory=dict)
    seconds: int = 0


class RateLimits:
    """Calls a key may make, in sliding windows that all API processes share. Without their store nobody is limited."""

    def __init__(self, storage: Storage, policies: Mapping[str, str], pool: ConnectionPool | None = None) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._policies = {name: _parsed(text) for name, text in policies.items()}
        self._pool = pool
        self._blind_until = 0.0

    async def close(self) -> None:
        """Close the connections."""
        if self._pool:
            await self._pool.disconnect()

    async def spend(self, policy: str, key_id: str) -> Spent:
        """Count a call of a key."""
        if time.monotonic() < self._blind_until:
            return Spent()
        item = self._policies[policy]
        try:
            granted = await self._limiter.hit(item, policy, key_id)
            stats = await self._limiter.get_window_stats(item, policy, key_id)
        except (RedisError, OSError) as error:
            self._blind_until = time.monotonic() + BLIND_SECONDS
            metrics.ERRORS.labels("broker", "count_calls").inc()
            logger.warning("calls_not_counted", error=type(error).__name__, seconds=BLIND_SECONDS)
            return Spent()
        seconds = max(1, math.ceil(stats.reset_time - time.time()))
        fields = {
            "RateLimit-Policy": f'"{policy}";q={item.amount};w={item.get_expiry()}',
            "RateLimit": f'"{policy}";r={stats.remaining if granted else 0};t={seconds}',
        }
        return Spent(granted, fields, seconds)


def connect_limits(settings: Settings) -> RateLimits:
    """Counters in the broker's Redis or Valkey (ConfigurationError)."""
    url = settings.broker_url.get_secret_value()
    timeouts = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    pool = ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **timeouts)
    options: dict[str, Any] = {"connection_pool": pool}
    storage = RedisStorage(f"async+{url}", implementation="redispy", key_prefix="sider:calls", **options)
    return RateLimits(storage, {"writes": settings.rate_writes, "reads": settings.rate_reads}, pool)


def _parsed(text: str) -> RateLimitItem:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no rate; write it like 600/minute") from error
