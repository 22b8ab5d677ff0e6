"""A bug that made runs of other programs look healthy, and what catches it."""

from dataclasses import dataclass

from catching import Catcher
from seams import Plant


@dataclass(frozen=True)
class Fault:
    """A bug and what catches it.

    Attributes:
        number: Place in the list of silent bugs.
        what: The bug.
        plant: Puts it in place.
        catcher: What is expected to catch it.
        says: Words of the message; "" where that is a test's name.
        slow: Whether it takes long to show.
    """

    number: int
    what: str
    plant: Plant
    catcher: Catcher
    says: str = ""
    slow: bool = False
