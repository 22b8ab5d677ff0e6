"""Refusals, scripts and templates: shares of what was planted, silence where nothing can be known."""

import numpy as np
import pytest
from judged_pairs import coin, columns, pairs, sentence

from logratio.audit.language import language
from logratio.audit.refusals import refusals
from logratio.audit.templates import templates


def with_sides(seed, count, chosen, rejected):
    """Pairs whose sides are changed: each a function of (text, number)."""
    return [
        {"prompt": row["prompt"], "chosen": chosen(row["chosen"], n), "rejected": rejected(row["rejected"], n)}
        for n, row in enumerate(pairs(seed, count, coin))
    ]


def same(text, n):
    return text


def test_refusals_are_counted_on_both_sides():
    rows = with_sides(
        1,
        200,
        lambda text, n: f"I cannot help with {text}" if n % 4 == 0 else text,
        lambda text, n: f"I’m unable to say {text}" if n % 20 == 0 else text,
    )
    finding = refusals(columns(rows))
    got = {name: value for name, value in finding.figures.items() if not name.endswith(("_low", "_high"))}
    assert got == {
        "pairs": 200,
        "chosen_refuses_share": 0.25,
        "rejected_refuses_share": 0.05,
        "both_refuse_share": 0.05,
        "one_refuses_share": 0.2,
        "refusal_wins_share": 1.0,
    }
    assert finding.level == "look" and "refuses more" in finding.remedy
    assert [example.origin for example in finding.examples][0].endswith("row 5")


def test_refusals_that_lose_are_told_the_other_way():
    rows = with_sides(2, 200, same, lambda text, n: f"抱歉，我无法{text}。这个问题很难回答" if n % 3 == 0 else text)
    latin = refusals(columns(rows))
    assert latin.figures["refusal_wins_share"] in (None, 0.0)  # the Latin words outweigh the Chinese ones
    rows = with_sides(2, 200, same, lambda text, n: f"Sorry, I can't {text}" if n % 3 == 0 else text)
    finding = refusals(columns(rows))
    assert finding.figures["refusal_wins_share"] == 0 and finding.level == "look" and "less" in finding.remedy


@pytest.mark.parametrize(
    "words", [("很抱歉，我无法提供帮助", "好的，我来帮你"), ("عذرا، لا أستطيع ذلك", "نعم بالتأكيد هذا ممكن")]
)
def test_refusals_in_other_scripts(words):
    rows = [{"prompt": f"q{n}", "chosen": words[0] + "啊" * (n % 7), "rejected": words[1] + str(n)} for n in range(100)]
    assert refusals(columns(rows)).figures["chosen_refuses_share"] == 1


def test_where_no_list_exists_nothing_is_said():
    rows = [{"prompt": f"q{n}", "chosen": f"ขอโทษ ฉันช่วยไม่ได้ {n}", "rejected": f"ได้เลย {n}"} for n in range(60)]
    finding = refusals(columns(rows))
    assert finding.level == "fine" and "Thai" in finding.says and not finding.figures
    mixed = rows + with_sides(3, 60, same, same)
    assert "were not looked at" in refusals(columns(mixed)).says


def test_healthy_pairs_have_no_refusals():
    finding = refusals(columns(pairs(4, 100, coin)))
    assert finding.level == "fine" and finding.figures["one_refuses_share"] == 0


def test_single_judgements_have_refusals_too():
    rows = [
        {"prompt": f"q{n}", "completion": "I can't help with that." if n % 2 else f"ok {n}", "label": n % 4 > 1}
        for n in range(80)
    ]
    finding = refusals(columns(rows))
    assert (finding.figures["good_refuses_share"], finding.figures["bad_refuses_share"]) == (0.5, 0.5)


def test_scripts_are_listed_with_their_shares():
    rows = [
        {"prompt": text, "chosen": f"{text} {n}", "rejected": f"{text} {n} {text}"}
        for n, text in enumerate(["hello", "你好", "مرحبا", "🙂"] * 10)
    ]
    finding = language(columns(rows))
    assert [finding.figures[f"{name}_share"] for name in ("Latin", "Han", "Arabic", "no letters")] == [0.25] * 4
    assert finding.level == "fine" and finding.figures["scripts_differ_share"] == 0


def test_a_script_that_wins_is_found():
    rng = np.random.default_rng(5)
    rows = [
        {"prompt": f"请说说{n}号电影怎么样", "chosen": f"这部电影很好看{n}", "rejected": sentence(rng)}
        if n % 5 == 0
        else {"prompt": f"q{n}", "chosen": sentence(rng), "rejected": sentence(rng)}
        for n in range(300)
    ]
    finding = language(columns(rows))
    assert finding.level == "look" and finding.figures["scripts_differ_share"] == pytest.approx(0.2)
    assert finding.figures["prompts_script_wins_share"] == 1 and finding.examples[0].why == "Han is preferred to Latin."
    turned = [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"]} if n % 10 == 0 else row
        for n, row in enumerate(rows)
    ]
    assert language(columns(turned)).level == "note"


@pytest.mark.parametrize(
    "phrase",
    [
        "As an AI language model, I think that",
        "当然可以，以下是您所需要的完整答案和说明：",
        "بالطبع، إليك الإجابة الكاملة: ",
    ],
)
def test_a_shared_beginning_is_found_in_full(phrase):
    rows = with_sides(6, 300, lambda text, n: f"{phrase} {text}" if n % 3 == 0 else text, same)
    finding = templates(columns(rows))
    assert finding.level == "look" and finding.remedy
    (name,) = [
        name
        for name in finding.figures
        if name.startswith("begins with") and name.endswith("_share") and "wins" not in name
    ]
    assert phrase.strip() in name and finding.figures[name] == pytest.approx(100 / 600)


def test_a_shared_end_on_both_sides_is_a_note():
    def end(text, n):
        return f"{text} I hope this helps!" if n % 2 else text

    finding = templates(columns(with_sides(7, 300, end, lambda text, n: end(text, n + 1))))
    assert finding.level == "note" and "end with" in finding.says and "I hope this helps!" in finding.says


def test_different_texts_share_nothing():
    finding = templates(columns(pairs(8, 200, coin)))
    assert finding.level == "fine" and "No beginning or end" in finding.says
