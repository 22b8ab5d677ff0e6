"""The loop and what it stands on; calling the package trains (`logratio.train.api.train`)."""

from ..verbs import callable_package

callable_package(__name__)
