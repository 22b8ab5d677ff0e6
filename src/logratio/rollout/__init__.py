"""Generation from a policy."""
