"""Text → named shallow cues: what can be seen without reading, such as length, layout, digits or a refusal.

Nothing here needs a model, a tokenizer or torch, and no language is assumed.
"""

from .collect import table

__all__ = ["table"]
