import pytest

from logratio.data.adapt import adapt
from logratio.errors import DataError
from logratio.records import Carried, Demonstration, Labelled, Origin, Pair, Prompt, Ranked

WITH = {"tools": ({"name": "f"},), "carried": Carried(weight=2.0), "origin": Origin("a.jsonl", 7)}
PAIR = Pair(prompt="p", chosen="c", rejected="r", **WITH)
RANKED = Ranked(prompt="p", responses=("a", "b", "c"), scores=(1.0, 3.0, 3.0), **WITH)
GOOD = Labelled(prompt="p", response="c", label=True, **WITH)
BAD = Labelled(prompt="p", response="r", label=False, **WITH)
SHOWN = Demonstration(prompt="p", response="c", **WITH)
ASKED = Prompt(prompt="p", **WITH)


@pytest.mark.parametrize(
    ("record", "kind", "adapted"),
    [
        (PAIR, "demonstrations", (SHOWN,)),
        (PAIR, "pairs", (PAIR,)),
        (PAIR, "labels", (GOOD, BAD)),
        (PAIR, "rankings", (Ranked(prompt="p", responses=("c", "r"), scores=(1.0, 0.0), **WITH),)),
        (RANKED, "demonstrations", (Demonstration(prompt="p", response="b", **WITH),)),
        (RANKED, "pairs", (RANKED,)),
        (RANKED, "rankings", (RANKED,)),
        (GOOD, "demonstrations", (SHOWN,)),
        (BAD, "demonstrations", ()),
        (GOOD, "labels", (GOOD,)),
        (SHOWN, "demonstrations", (SHOWN,)),
    ],
)
def test_records_become_what_the_objective_learns_from(record, kind, adapted):
    assert adapt(record, kind) == adapted


@pytest.mark.parametrize("kind", ["demonstrations", "pairs", "labels", "rankings"])
def test_a_tie_yields_nothing(kind):
    assert adapt(Pair(prompt="p", chosen="c", rejected="r", tie="tie", **WITH), kind) == ()


def test_of_two_bad_responses_labels_learn_that_both_are():
    both = Pair(prompt="p", chosen="c", rejected="r", tie="both_bad", **WITH)
    bad = tuple(Labelled(prompt="p", response=text, label=False, **WITH) for text in ("c", "r"))
    assert adapt(both, "labels") == bad
    assert adapt(both, "pairs", ties=True) == (both,)
    assert [adapt(both, kind) for kind in ("pairs", "demonstrations", "rankings")] == [(), (), ()]


@pytest.mark.parametrize(
    ("record", "kind", "formats", "fits"),
    [
        (SHOWN, "pairs", "bring prompt/chosen/rejected or prompt/responses/scores", "--objective sft"),
        (SHOWN, "labels", "bring prompt/completion/label or prompt/chosen/rejected", "--objective sft"),
        (SHOWN, "rankings", "bring prompt/responses/scores or prompt/chosen/rejected", "--objective sft"),
        (GOOD, "pairs", "bring prompt/chosen/rejected", "--objective kto"),
        (BAD, "rankings", "bring prompt/responses/scores", "--objective kto"),
        (RANKED, "labels", "bring prompt/completion/label", "--objective dpo or sft"),
        (ASKED, "demonstrations", "bring prompt/completion, messages", "or draw responses with --rollout.k"),
        (ASKED, "pairs", "bring prompt/chosen/rejected", "or --objective grpo and --judge"),
    ],
)
def test_what_cannot_be_converted_says_what_would_serve(record, kind, formats, fits):
    with pytest.raises(DataError) as caught:
        adapt(record, kind)
    said = str(caught.value)
    assert said.startswith("a.jsonl, row 7: holds ") and formats in said and fits in said
