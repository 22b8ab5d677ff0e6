"""The matrix in docs/support.md says of a cell that it was run because it is run here."""

import pytest
from support_cells import RUN, cells, failure


@pytest.mark.slow
@pytest.mark.parametrize("architecture", RUN)
def test_a_step_has_the_gradient_that_is_written_out(architecture):
    own = [cell for cell in cells() if cell.architecture == architecture]
    assert own and not [said for cell in own if (said := failure(cell))]
