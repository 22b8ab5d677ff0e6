"""Cues by name, against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logratio.cues import collect, table
from logratio.cues.chars import Characters
from logratio.cues.refusals import LISTS, judged, refuses
from logratio.cues.scripts import NAMES

MARKDOWN = """# Title

Some **bold** and `code`, see https://example.org and [this](http://a.b).

- one
* two
  + three

1. first
2) second

| a | b |
| - | - |

```python
x = "- not markdown, but seen as such"
```
"""


def cues(text, prompt=""):
    names, values = table([text], [prompt])
    return dict(zip(names, values[0].tolist(), strict=True))


def count(text, name):
    return round(float(np.expm1(cues(text)[f"{name} (log)"])), 6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("headings", 1),
        ("bold passages", 1),
        ("code in a line", 1),
        ("code blocks", 1),
        ("links", 2),
        ("list items", 3),
        ("numbered items", 2),
        ("table rows", 2),
        ("paragraph breaks", 5),
        ("lines", 17),
    ],
)
def test_layout_is_counted(name, value):
    assert count(MARKDOWN, name) == value


def test_plain_text_has_no_layout():
    plain = cues("A line - with a dash, 2.5 kg * 3, a_b_c and C# code. Is 3.5 > 2?")
    assert all(plain[f"{name} (log)"] == 0 for name in ("list items", "numbered items", "headings", "bold passages"))


@pytest.mark.parametrize("text", ["一、第一\n二、第二", "1．第一\n2．第二", "١. أولا\n٢. ثانيا"])
def test_numbered_items_in_other_scripts(text):
    assert count(text, "numbered items") == 2


@pytest.mark.parametrize(
    ("text", "questions", "unended", "asks"),
    [
        ("Really? Yes.", 1, 0, 0),
        ("Are you?", 1, 0, 1),
        ("And then", 0, 1, 0),
        ("And then 🙂", 0, 1, 0),
        ("Done. 🙂", 0, 0, 0),
        ('He said "no."', 0, 0, 0),
        ("真的吗？", 1, 0, 1),
        ("你好。」", 0, 0, 0),
        ("هل أنت بخير؟", 1, 0, 1),
        ("نعم", 0, 1, 0),
        ("", 0, 0, 0),
        ("!!", 0, 0, 0),
    ],
)
def test_how_texts_ask_and_end(text, questions, unended, asks):
    found = cues(text)
    assert round(np.expm1(found["questions (log)"]), 6) == questions
    assert (found["ends without a stop"], found["ends with a question"]) == (unended, asks)


def test_shares_of_characters():
    found = cues("AB cd 12! 🙂")
    assert found["digits (share)"] == pytest.approx(2 / 11)
    assert found["punctuation (share)"] == pytest.approx(1 / 11)
    assert found["capitals (share)"] == pytest.approx(2 / 4)
    assert found["emoji (log)"] == pytest.approx(np.log(2))
    assert found["letters per word"] == pytest.approx(4 / 3)


def test_overlap_is_of_different_words():
    found = cues("The cat, the dog and a bird", prompt="THE dog or the horse")
    assert found["words from the prompt (share)"] == pytest.approx(2 / 6)  # the, dog of the, cat, dog, and, a, bird
    assert found["prompt's words used (share)"] == pytest.approx(2 / 4)
    assert cues("anything")["prompt's words used (share)"] == 0
    assert cues("我喜欢猫", prompt="猫")["prompt's words used (share)"] == 1


def test_repetition_is_of_three_words_in_a_row():
    found = cues("a b c a b c")  # abc, bca, cab, abc
    assert found["repeated runs of words (share)"] == pytest.approx(1 / 4)
    assert found["different words (share)"] == pytest.approx(1 / 2)
    assert cues("好好好好好")["repeated runs of words (share)"] == pytest.approx(2 / 3)
    assert cues("🙂🙂🙂🙂")["repeated runs of words (share)"] == pytest.approx(1 / 2)
    assert cues("two words")["repeated runs of words (share)"] == 0


def test_first_words_that_are_common_become_cues():
    texts = ["Sure, here it is", "sure thing", "No way", "好的", "好吧", "", "…"]
    names, values = table(texts, [""] * len(texts))
    begins = {name: values[:, c].tolist() for c, name in enumerate(names) if name.startswith("begins")}
    assert begins == {
        'begins with "sure"': [1, 1, 0, 0, 0, 0, 0],
        'begins with "好"': [0, 0, 0, 1, 1, 0, 0],
    }


REFUSALS = {
    "English": ("I’m sorry, but I can’t help with that.", "I can help with that: first, take a pan."),
    "Spanish": ("Lo siento, pero no puedo ayudar con eso.", "Puedo ayudarte con eso."),
    "French": ("Je ne peux pas vous aider à faire cela.", "Je peux vous aider."),
    "German": ("Es tut mir leid, aber dabei helfe ich nicht.", "Das mache ich gern."),
    "Portuguese": ("Desculpe, mas não posso ajudar com isso.", "Posso ajudar com isso."),
    "Italian": ("Mi dispiace, ma non posso aiutarti.", "Certo, ti aiuto."),
    "Chinese": ("很抱歉，我无法提供这方面的帮助。", "当然可以，步骤如下。"),
    "Arabic": ("عذرًا، لا أستطيع مساعدتك في ذلك.", "بالطبع، إليك الخطوات."),
    "Russian": ("Извините, но я не могу с этим помочь.", "Конечно, вот как это сделать."),
    "Japanese": ("申し訳ありませんが、お手伝いできません。", "もちろんです。手順は次のとおりです。"),
    "Korean": ("죄송하지만 도와드릴 수 없습니다.", "물론입니다. 방법은 다음과 같습니다."),
    "Hindi": ("क्षमा करें, मैं इसमें मदद नहीं कर सकता।", "ज़रूर, यह रहा तरीका।"),
}


@pytest.mark.parametrize("language", LISTS)
def test_refusals_in_every_listed_language(language):
    refusal, answer = REFUSALS[language]
    assert judged(Characters([refusal, answer])) == [True, False]


def test_where_no_list_covers_a_script_nothing_is_said():
    thai, nothing = "ขอโทษ ฉันช่วยไม่ได้", "123"
    assert judged(Characters([thai, nothing])) == [None, None]
    assert cues(thai)["refuses"] == 0


def test_a_refusal_is_looked_for_where_a_text_begins():
    late = "Here is the recipe. " * 20 + "I can't help with the rest."
    assert refuses(late, NAMES.index("Latin")) is False


def test_names_and_shape():
    names, values = table(["a", "b b", "c"], ["p", "p", "q"])
    assert values.shape == (3, len(names)) and values.dtype == np.float64 and len(set(names)) == len(names)
    assert table([], [])[0] == ()
    with pytest.raises(ValueError, match="2 texts need as many prompts"):
        table(["a", "b"], ["p"])


def test_batches_change_nothing(monkeypatch):
    texts = ["Sure, I can.", "我不能", "No - 1. 2.", "", "🙂 yes yes yes yes", "مرحبا"] * 5
    prompts = ["can you?", "can you?", "x", "", "yes", "مرحبا يا"] * 5
    names, values = table(texts, prompts)
    monkeypatch.setattr(collect, "_BATCH", 10)
    again, small = table(texts, prompts)
    assert again == names
    np.testing.assert_array_equal(small, values)


@given(st.lists(st.text(st.characters(), max_size=40), min_size=1, max_size=6))
def test_any_text_has_finite_cues(texts):
    names, values = table(texts, texts[::-1])
    assert np.isfinite(values).all() and (values >= 0).all()
    shares = [c for c, name in enumerate(names) if name.endswith("(share)")]
    assert (values[:, shares] <= 1).all()
