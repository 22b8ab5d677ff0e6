"""Does the jobs of `tests/train/process_worker.py` with metrics that each process takes from its own items alone."""

import json
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS / "train"), str(TESTS)]


def wrong_reduce(self, world, names):
    means = {name: (self.sums[name][0] / self.sums[name][1]).item() for name in names if name in self.sums}
    return {"loss": self.loss.item(), **means}


if __name__ == "__main__":
    import process_worker

    from logratio.train import distributed
    from logratio.train.totals import Totals

    Totals.reduce = wrong_reduce
    process_worker.work(json.loads(Path(sys.argv[1]).read_text()))
    distributed.stop()
