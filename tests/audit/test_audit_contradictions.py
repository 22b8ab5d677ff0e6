import numpy as np
import pytest
from planted import SCRIPTS, Writer, recall_precision

from logratio.audit import contradictions
from logratio.audit.rows import read_rows
from logratio.audit.similar import forms


def row(prompt, chosen, rejected, **more):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def found(data):
    rows = read_rows(data)
    return contradictions.contradictions(rows, forms(rows.texts))


def left_out(data):
    rows = read_rows(data)
    return np.flatnonzero(contradictions.minority(rows, forms(rows.texts))).tolist()


@pytest.mark.parametrize("script", SCRIPTS)
def test_planted_contradictions_are_found_among_repeats_and_similar_rows(script):
    writer = Writer(4, script)
    data = [writer.pair() for _ in range(300)]
    turned = list(range(0, 100))
    data += [row(own["prompt"], own["rejected"], own["chosen"].upper()) for own in (data[at] for at in turned)]
    data += [dict(data[at]) for at in range(100, 200)]
    data += [row(writer.text(), data[at]["rejected"], data[at]["chosen"]) for at in range(200, 300)]
    rows = read_rows(data)
    judged = contradictions.judged(rows, forms(rows.texts))
    edges = np.flatnonzero(judged.contradicted_P[judged.pair_E]).tolist()
    recall, precision = recall_precision(edges, [*turned, *range(300, 400)])
    assert (recall, precision) == (1.0, 1.0)
    finding = contradictions.contradictions(rows, forms(rows.texts))
    assert finding.level == "look" and finding.figures["contradicted_pairs"] == 100
    assert finding.figures["judged_more_than_once"] == 200


def test_a_tie_contradicts_nothing_and_another_criterion_is_another_question():
    tie = {"prompt": "p", "response1": "a", "response2": "b", "preference_strength": 0}
    data = [tie, tie | {"preference_strength": 1}]
    assert found(data).level == "fine" and found(data).figures["also_tied"] == 1
    assert found([row("p", "a", "b", criterion="x"), row("p", "b", "a", criterion="y")]).level == "fine"


def test_a_response_called_good_and_bad_is_a_contradiction():
    label = {"prompt": "p", "completion": "a", "label": True}
    finding = found([label, label | {"label": False}, label | {"prompt": "q"}])
    assert finding.figures["contradicted_labels"] == 1 and finding.figures["judgements_in_contradictions"] == 2
    assert finding.examples[0].why == "called good here and bad in data, row 2"


@pytest.mark.parametrize(
    ("verdicts", "out"),
    [("ab", []), ("a", []), ("aab", [2]), ("abab", [0, 1, 2, 3]), ("abb", [0]), ("aabbb", [0, 1])],
)
def test_the_side_with_fewer_judgements_is_left_out_and_both_where_equal(verdicts, out):
    rows = {"a": row("p", "x", "y"), "b": row("p", "y", "x")}
    expected = [0, 1] if verdicts == "ab" else out
    assert left_out([rows[verdict] for verdict in verdicts]) == expected


def test_disagreement_of_several_known_annotators_is_kept():
    data = [row("p", "x", "y", annotator="1"), row("p", "y", "x", annotator="2")]
    assert left_out(data) == [] and found(data).level == "note"
    assert found([data[0], data[0] | {"chosen": "y", "rejected": "x"}]).figures["by_one_annotator"] == 1


def test_pairs_of_a_ranking_count():
    ranking = {"prompt": "p", "responses": ["a", "b", "c"], "scores": [3, 2, 1]}
    finding = found([ranking, ranking | {"responses": ["c", "a"], "scores": [2, 1]}])
    assert finding.figures["contradicted_pairs"] == 1
    assert finding.examples[0].texts == {"prompt": "p", "chosen": "a", "rejected": "c"}


@pytest.mark.parametrize(
    ("more", "out"),
    [([], [0]), ([("y", "x", "2")], []), ([("x", "z", "2")], [0])],  # another judge counts on the pair that he judged
)
def test_one_persons_contradiction_is_repaired_and_several_peoples_kept(more, out):
    """One annotator said x > y once and y > x twice: `look`, and --fix leaves the single judgement out."""
    data = [("x", "y", "1"), ("y", "x", "1"), ("y", "x", "1"), *more]
    data = [row("p", one, other, annotator=who) for one, other, who in data]
    finding = found(data)
    assert left_out(data) == out
    assert finding.level == ("look" if out else "note")
    assert finding.remedy.startswith("--fix keeps" if out else "People disagree")


def test_where_some_pairs_have_several_judges_the_remedy_parts_them():
    data = [row("p", "x", "y", annotator="1"), row("p", "y", "x", annotator="2")]
    data += [row("q", "x", "y", annotator="1"), row("q", "y", "x", annotator="1")]
    finding = found(data)
    assert left_out(data) == [2, 3] and finding.level == "look"
    assert "several named people" in finding.remedy and "--fix keeps" in finding.remedy


def test_one_pair_is_not_plural():
    assert "1 pair was judged more than once" in found([row("p", "x", "y")] * 2).says
    assert (
        "1 of 1 pair judged more than once was judged both ways" in found([row("p", "x", "y"), row("p", "y", "x")]).says
    )
