"""Keys of a recipe that nothing would read."""

from __future__ import annotations

from ..batch.needs import Needs
from ..config import RunConfig
from ..errors import ConfigError


def require_values_read(config: RunConfig, needs: Needs) -> None:
    """Refuse settings of values where none are read.

    Raises:
        ConfigError: The objective needs none.
    """
    if config.value is not None and not needs.value:
        raise ConfigError(
            f"value is given, and {config.objective['name']} reads no values, so that nothing would come of it; leave "
            "it out, or use --objective ppo."
        )
