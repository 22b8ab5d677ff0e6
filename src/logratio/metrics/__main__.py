"""The table of metrics as a page: `python -m logratio.metrics > docs/metrics.md`."""

from . import page

print(page())
