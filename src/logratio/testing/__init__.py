"""What an objective is held to, for the ones here and for your own: `contract(objective)`."""

from .contract import CHECKS, contract

__all__ = ["CHECKS", "contract"]
