"""A run's metrics, read as an experienced person would: findings with evidence, a plot and a remedy. No torch."""
