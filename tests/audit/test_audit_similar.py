import pytest
from planted import SCRIPTS, Writer, recall_precision

from logratio.audit.similar import NEAR, WIDTH, alike, forms, matches, normal, shingles, signatures, similarity


def oracle(one, other):
    """Return the Jaccard similarity of two texts' shingles, by sets of bytes."""
    sets = []
    for text in (one, other):
        body = normal(text).encode().ljust(WIDTH, b"\0")
        sets.append({body[at : at + WIDTH] for at in range(len(body) - WIDTH + 1)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def variants(script, count=20):
    """Return texts of one script, each with copies that are nearer and farther."""
    writer = Writer(1, script)
    texts = []
    for _ in range(count):
        text = writer.text(40 if writer.gap else 60)
        texts.append(text)
        for edits in (1, 2, 4, 8):
            near = text
            for _ in range(edits):
                near = writer.edited(near)
            texts.append(near)
    return texts


def test_shingles_are_six_bytes_each_and_short_texts_have_one():
    shingle, start = shingles(["abcdefg", "中", "", "ab cd"])
    assert start.tolist() == [0, 2, 3, 4, 5]
    assert [int(value).to_bytes(WIDTH, "little") for value in shingle] == [
        b"abcdef",
        b"bcdefg",
        "中".encode().ljust(WIDTH, b"\0"),
        b"\0" * WIDTH,
        b"ab cd\0",
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_similarity_is_that_of_the_sets(script):
    texts = variants(script, 4)
    for one in texts[:5]:
        for other in texts:
            assert similarity(one, other) == pytest.approx(oracle(one, other), abs=1e-12)


def test_signatures_estimate_the_similarity():
    one, other = "a text of some length that is here to be compared with others", "a text of some length, compared"
    rows = signatures([one, other] * 1)
    assert abs((rows[0] == rows[1]).mean() - oracle(one, other)) < 0.2
    writer = Writer(3)
    errors = []
    for _ in range(50):
        text = writer.text(60)
        near = writer.edited(writer.edited(text))
        rows = signatures([text, near])
        errors.append((rows[0] == rows[1]).mean() - oracle(text, near))
    assert abs(sum(errors) / len(errors)) < 0.02, "signatures are biased"


@pytest.mark.parametrize("script", SCRIPTS)
def test_near_copies_are_those_that_comparing_all_pairs_finds(script):
    texts = variants(script)
    found = alike(texts)
    planted = {
        at
        for at in range(len(texts))
        if any(found.leader_T[other] == other and oracle(texts[at], texts[other]) >= NEAR for other in range(at))
    }
    recall, precision = recall_precision([at for at in range(len(texts)) if found.leader_T[at] != at], planted)
    assert len(planted) > 30
    assert recall >= 0.99 and precision == 1.0
    for at, leader in enumerate(found.leader_T.tolist()):
        assert leader <= at and found.leader_T[leader] == leader
        assert (
            found.similarity_T[at] == pytest.approx(oracle(texts[at], texts[leader])) and found.similarity_T[at] >= NEAR
        )


def test_case_and_white_space_make_no_difference():
    assert forms(["Ein  Text\n", "ein text", "ein anderer", "EIN TEXT"]).tolist() == [0, 0, 2, 0]


def test_matches_across_two_sets_are_those_that_comparing_all_pairs_finds():
    writer = Writer(5)
    theirs = [writer.text() for _ in range(150)]
    mine = [writer.edited(text) for text in theirs[:50]] + [writer.text() for _ in range(50)] + theirs[50:60]
    found = matches(mine, theirs, signatures(mine), signatures(theirs))
    expected = {
        at: to for at, text in enumerate(mine) for to, other in enumerate(theirs) if oracle(text, other) >= NEAR
    }
    assert found == expected and len(expected) > 50


def test_no_texts_and_empty_texts():
    assert len(alike([]).form_T) == 0
    assert alike(["", " ", "a"]).leader_T.tolist() == [0, 0, 2]
    assert matches([], ["a"], signatures([]), signatures(["a"])) == {}
