"""Pages from a run's files; imports no torch."""
