"""Preference data → findings: what is wrong with it, what it rewards, and what can be repaired."""
