import json

from hypothesis import given
from hypothesis import strategies as st

from logratio.data.jsonscan import Window, elements

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\[]{},: \n\té雪'),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='x"\\]}', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    values=st.lists(_VALUES, max_size=5),
    piece=st.integers(1, 9),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_elements_are_those_of_the_list_however_the_text_is_cut(values, piece, indent, ascii_only):
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    window = Window(text[at : at + piece] for at in range(0, len(text), piece))
    assert window.peek() == "["
    window.until("[")
    assert [json.loads(element) for element in elements(window)] == values
    assert window.peek() == ""


def _of(text):
    window = Window(iter([text]))
    window.until("[")
    return list(elements(window))


def test_a_list_that_breaks_off_ends_in_none():
    assert _of('[{"a": 1}, {"a"') == ['{"a": 1}', None]
    assert _of('[{"a": 1}}') == [None]


def test_a_string_without_its_quote_spoils_its_own_element_only():
    assert _of('["x\n, 2, 3]') == ['"x\n', " 2", " 3"]


def test_a_missing_bracket_draws_no_whole_file_into_memory(monkeypatch):
    monkeypatch.setattr("logratio.data.jsonscan.LIMIT", 100)
    pieces = iter(['[{"a": 1, '] + ['{"b": 2}, '] * 1000)
    window = Window(pieces)
    window.until("[")
    assert list(elements(window)) == [None]
    assert len(list(pieces)) > 900


def test_skipping_returns_no_text():
    window = Window(iter(['"key": [1, ', "2, 3], 4"]))
    assert window.until(":") == ('"key"', ":")
    assert window.until(",", keep=False) == ("", ",")
    assert window.until(",") == (" 4", "")
