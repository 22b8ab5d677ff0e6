"""The bugs that made runs of other programs look healthy, planted one by one, and what catches each."""

from bugs_losses import LOSSES
from bugs_reference import REFERENCE
from bugs_tokens import TOKENS

FAULTS = (*TOKENS, *REFERENCE, *LOSSES)
