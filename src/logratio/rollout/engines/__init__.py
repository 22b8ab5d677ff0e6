"""Engines that draw responses outside this process or by another library."""

from __future__ import annotations

from ...config import EngineConfig
from ..engine import Engine


def open_engine(config: EngineConfig) -> Engine:
    """Return the engine that a recipe names; nothing is sent yet.

    Raises:
        ConfigError: Its address must not be used, or its key is not set.
    """
    from ..http import Server
    from .completions import CompletionsEngine

    server = Server.at(
        config.url,
        api_key_env=config.api_key_env,
        timeout=config.timeout,
        retries=config.retries,
        plain_http=config.plain_http,
        part="rollout.engine",
    )
    return CompletionsEngine(server, config.model, config.concurrency)
