"""What is written can be read, and says what was planned."""

from itertools import product

import numpy as np
import pytest

from logratio.testbed.grammar import AGREE, CLAUSES, CONTRAST, VERDICTS, Claim, grammar
from logratio.testbed.lexicon import VERDICT
from logratio.testbed.review import write_review

SIZES = ("nano", "small")


@pytest.mark.parametrize("size", SIZES)
def test_every_clause_form_reads_back_with_its_sign(size):
    made, rng = grammar(size), np.random.default_rng(0)
    for aspect, polarity in product(made.lexicon.aspects, (1, -1)):
        seen = set()
        for _ in range(300):
            sentence = made.write_claims([Claim(aspect.name, polarity)], rng)
            assert made.read(sentence) == (Claim(aspect.name, polarity),), sentence
            seen |= {form for form in CLAUSES if form.read(sentence[0].lower() + sentence[1:-1])}
        assert len(seen) >= len(CLAUSES) - 3  # "I …" is not lowered; one form takes praise alone


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("The acting is superb.", [("acting", 1)]),
        ("The acting is not superb.", [("acting", -1)]),
        ("The acting is not awful.", [("acting", 1)]),
        ("The jokes are never dull.", [("jokes", 1)]),
        ("The plot is neither gripping, superb nor memorable.", [("plot", -1)]),
        ("The plot tries to be gripping, superb and memorable but fails.", [("plot", -1)]),
        ("Its awful jokes sink the film.", [("jokes", -1)]),
        ("I did not hate the music, but I hated the plot.", [("music", 1), ("plot", -1)]),
        ("Although the plot is not neither.", None),
        ("Although the acting is wooden, I loved the images.", [("acting", -1), ("images", 1)]),
        ("I would not see it again.", [(VERDICT, -1)]),
        ("It runs for two hours.", []),
        ("Golden Canyon follows a sheriff and a gambler.", []),
        ("The acting is superb, but the plot is excellent.", None),  # "but" wants a contrast
        ("The acting is superb, and the plot is awful.", None),  # "and" wants agreement
        ("Although the acting is superb, the plot is excellent.", None),
        ("The jokes is superb.", None),
        ("The acting are superb.", None),
        ("Its awful jokes lift the film.", None),
        ("The plot tries to be muddled, awful and dull but fails.", None),  # nobody tries to be bad
        ("The acting is neither superb nor awful.", None),
        ("The acting is witty.", None),  # jokes are
        ("Golden Sheriff follows a canyon and a gambler.", None),
        ("the acting is superb.", None),
        ("The acting is superb", None),
        (" The acting is superb.", None),
        (".", None),
        ("", None),
    ],
)
def test_sentences_by_hand(sentence, claims):
    read = grammar("nano").read(sentence)
    assert read == (None if claims is None else tuple(Claim(*claim) for claim in claims))


@pytest.mark.parametrize("size", SIZES)
def test_two_clauses_agree_or_contrast_and_verdicts_have_one_meaning(size):
    made, rng = grammar(size), np.random.default_rng(1)
    first, second = made.lexicon.aspects[:2]
    for p, q in product((1, -1), repeat=2):
        claims = (Claim(first.name, p), Claim(second.name, q))
        for _ in range(200):
            sentence = made.write_claims(claims, rng)
            assert made.read(sentence) == claims, sentence
            assert any(frame.read(sentence) for frame in (AGREE if p == q else CONTRAST))
    assert {made.read(t.text) for t in VERDICTS} == {(Claim(VERDICT, 1),), (Claim(VERDICT, -1),)}


@pytest.mark.parametrize("size", SIZES)
def test_reviews_differ_and_say_each_aspect_once(size):
    made = grammar(size)
    reviews = [write_review(made, 4, np.random.default_rng(i)) for i in range(1000)]
    assert len({r.text for r in reviews}) > 950
    assert all(len({c.aspect for c in r.claims}) == len(r.claims) >= 1 for r in reviews)
    assert {c.aspect for r in reviews for c in r.claims} == {*made.lexicon.by_name, VERDICT}
    assert reviews[7] == write_review(made, 4, np.random.default_rng(7))
    mean = np.mean([sum(c.polarity for c in r.claims) for r in reviews])
    assert abs(mean) < 0.3  # praise and blame are alike: standard error 0.07


def test_the_vocabulary_holds_every_word_a_review_can_use():
    for size in SIZES:
        made, rng = grammar(size), np.random.default_rng(2)
        first, words = made.vocabulary
        texts = [write_review(made, 6, rng).text.replace(".", "").replace(",", "").split() for _ in range(3000)]
        used = {word for text in texts for word in text}
        assert used <= set(words) and {text[0] for text in texts} <= set(first)
        assert len(set(words) - used) <= 5, "words that no review uses"
