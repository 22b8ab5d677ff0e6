import pytest

from logratio.data.formats import FIELDS
from logratio.data.mapping import check_map, mapped
from logratio.errors import ConfigError

ROW = {"a": {"b": [{"c": "deep"}, {"c": "deeper"}]}, "x.y": "dotted", "question": "q", "list": ["one", "two"]}


@pytest.mark.parametrize(
    ("path", "value"),
    [("a.b.0.c", "deep"), ("a.b.-1.c", "deeper"), ("list.1", "two"), ("x.y", "dotted"), ("question", "q")],
)
def test_paths_lead_through_keys_and_list_indices(path, value):
    assert mapped(ROW, {"chosen": path})["chosen"] == value


@pytest.mark.parametrize("path", ["a.z", "a.b.7.c", "a.b.-3.c", "list.x", "question.deeper", "nowhere"])
def test_a_path_that_leads_nowhere_leaves_the_field_out(path):
    assert "chosen" not in mapped({**ROW, "chosen": "old"}, {"chosen": path})


def test_a_whole_column_is_renamed_and_others_stay():
    row = mapped(ROW, {"prompt": "question", "chosen": "list.0"})
    assert row == {**{key: ROW[key] for key in ("a", "x.y", "list")}, "prompt": "q", "chosen": "one"}


def test_two_columns_may_change_places():
    row = mapped({"chosen": "bad", "rejected": "good"}, {"chosen": "rejected", "rejected": "chosen"})
    assert row == {"chosen": "good", "rejected": "bad"}


def test_a_map_without_paths_is_the_row_itself():
    assert mapped(ROW, {}) is ROW


def test_a_wrong_map_is_found_before_any_row():
    with pytest.raises(ConfigError, match='no format reads the field "choosen"; did you mean "chosen"'):
        check_map({"choosen": "a"}, FIELDS)
    with pytest.raises(ConfigError, match='"a..b" is no path'):
        check_map({"chosen": "a..b"}, FIELDS)
