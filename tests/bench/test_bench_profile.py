"""Where a run's time goes: every part is found by its name, and the parts are of the whole."""

from bench import breakdown, workload


def test_parts_are_summed_by_name_and_what_none_names_is_everything_else():
    rows = breakdown.table((10.0, {"aten::linear": 2.0, "MmBackward0": 1.0, "_Head": 4.0, "aten::unknown": 0.5}))
    assert rows["products of the blocks"] == 3.0 and rows["everything else"] == 3.0 and rows["in all"] == 10.0


def test_no_part_of_a_real_run_has_lost_its_name(shared_data):
    """A renamed function would count as everything else."""
    found = breakdown.profiled(workload.write("nano", "hh", 2), "fp32")
    assert list(found) == ["reference", "training"]
    for name, phase in found.items():
        rows = breakdown.table(phase)
        lost = [part for part, seconds in rows.items() if seconds <= 0]
        assert lost == (["adding up gradients", "update of the weights", "clipping"] if name == "reference" else [])
