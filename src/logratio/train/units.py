"""Counts and sizes as a person reads them."""

from __future__ import annotations


def count(n: int) -> str:
    """Return a number of things in three digits: 640, 7.09K, 12.3M, 1.24B."""
    return _scaled(n, 1000, ("", "K", "M", "B", "T"))


def size(n: int) -> str:
    """Return a number of bytes in three digits: 640 B, 27.7 KiB, 1.21 GiB."""
    return _scaled(n, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def _scaled(n: int, base: int, units: tuple[str, ...]) -> str:
    value, place = float(n), 0
    while round(value) >= 1000 and place < len(units) - 1:
        value, place = value / base, place + 1
    digits = 0 if place == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}{units[place]}"
