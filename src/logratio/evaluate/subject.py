"""What is evaluated; see `logps.subject`."""

from ..logps.subject import Reference, Subject, compare, opened, reference_of, subject_of

__all__ = ["Reference", "Subject", "compare", "opened", "reference_of", "subject_of"]
