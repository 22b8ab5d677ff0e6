"""Measurements of the program against its peers and against what the hardware can do: `python -m bench VERB`."""
