"""The helpers and tests of other folders, which the planted faults use."""

import sys
from pathlib import Path

for folder in sorted(path for path in Path(__file__).parents[1].iterdir() if path.is_dir()):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
