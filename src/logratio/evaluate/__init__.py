"""Measures of a trained policy, each with its interval; calling the package evaluates (`logratio.evaluate.api`)."""

from ..verbs import callable_package

callable_package(__name__)
