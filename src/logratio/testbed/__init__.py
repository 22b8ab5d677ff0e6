"""A world of synthetic reviews whose true reward is known exactly."""
