"""Judges: a function, a reward model, an implicit reward, a language model behind an HTTP API."""
