"""Each distinct text is tokenised once, in whatever rows, parts and roles it comes back."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small_tokenizers import byte_tokenizer, encoder, pair
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from logratio.data import texts
from logratio.data.texts import Texts
from logratio.data.tokenize import Part
from logratio.data.tokenrows import TokenTally


class Counting:
    """The real tokenizer underneath, with an account of the texts that it was given."""

    def __init__(self, backend):
        self._backend, self.texts, self.calls = backend, [], 0

    def encode_batch(self, batch, **settings):
        return self._counted(self._backend.encode_batch, batch, settings)

    def encode_batch_fast(self, batch, **settings):
        return self._counted(self._backend.encode_batch_fast, batch, settings)

    def _counted(self, encode, batch, settings):
        self.texts.extend(batch)
        self.calls += 1
        return encode(batch, **settings)

    def __getattr__(self, name):
        return getattr(self._backend, name)


def streamed(records, *, part, **settings):
    """Rows of records in parts, and the texts that the tokenizer saw."""
    made = encoder(byte_tokenizer(), **settings)
    made._backend = counting = Counting(made._backend)
    parts = (Part(records[at : at + part], at) for at in range(0, len(records), part))
    return [row for each in made.stream(parts) for row in each.rows], counting


@pytest.fixture
def beside():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def rankings(prompts, responses):
    """Every pair among a prompt's responses, prompts far apart: as rankings become pairs and are shuffled."""
    names = [f" the cat sat {n}" for n in range(responses)]
    return [
        pair(f"yes or no {n}", names[i], names[j]) for i in range(responses) for j in range(i) for n in range(prompts)
    ]


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_a_text_of_many_rows_is_tokenised_once(part):
    records = rankings(10, 4)
    rows, counting = streamed(records, part=part)
    assert len(rows) == 60
    assert len(counting.texts) == len(set(counting.texts)) == 10 * (1 + 4)  # a prompt, and it with each response
    assert counting.calls <= -(-60 // part)


def test_texts_have_the_same_tokens_whether_their_places_are_asked_for_or_not(shared_data, beside):
    """One call of the library tells places, the other, a tenth faster, does not; of real tokenizers and other kinds."""
    with gzip.open(shared_data / "hh-harmless" / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        asked = [json.loads(next(lines))["chosen"] for _ in range(200)]
    asked += ["", " ", "naïve café — 東京 🙂🏽", "a\r\n\tb", "<s> </s> <|endoftext|> [CLS]", "x" * 3000]
    backends = [Tokenizer.from_file(str(file)) for file in sorted(shared_data.rglob("tokenizer.json"))]
    assert backends
    special = {"vocab_size": 400, "special_tokens": ["<unk>"]}
    for model, trainer in (
        (models.Unigram(), trainers.UnigramTrainer(unk_token="<unk>", **special)),
        (models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer(**special)),
    ):
        backends.append(Tokenizer(model))
        backends[-1].pre_tokenizer = pre_tokenizers.Metaspace()
        backends[-1].train_from_iterator(asked, trainer)
    for backend in backends:
        placed, bare = (Texts(backend, beside).encode(dict.fromkeys(asked, wanted)) for wanted in (True, False))
        for text in asked:
            assert placed[text].ids.tobytes() == bare[text].ids.tobytes(), (backend.model, text[:40])
            assert placed[text].begins is not None and bare[text].begins is None


@pytest.mark.parametrize(("count", "part"), [(1, 1), (29, 10), (30, 10), (31, 10)])
def test_parts_change_nothing(count, part):
    records = rankings(8, 4)[:count]
    rows, _ = streamed(records, part=part)
    whole = encoder(byte_tokenizer()).rows(records, TokenTally())
    assert [row.at for row in rows] == [row.at for row in whole] == list(range(count))
    for one, other in zip(rows, whole, strict=True):
        assert one.prompt.tobytes() == other.prompt.tobytes()
        assert [ids.tobytes() for ids in one.responses] == [ids.tobytes() for ids in other.responses]
        assert all(np.array_equal(one.edge[name], other.edge[name]) for name in other.edge)


def test_the_work_on_a_row_does_not_grow_with_the_data(monkeypatch):
    """Texts, calls and remembered bytes a row are the same for ten times the rows."""
    monkeypatch.setattr(texts, "_REMEMBERED", 20_000)
    seen = {}
    for count in (300, 3000):
        records = [pair(f"yes {n}", f" the cat {n}", f" the dog {n}") for n in range(count)]
        _, counting = streamed(records, part=50)
        seen[count] = len(counting.texts) / count, counting.calls / count
    assert seen[300] == seen[3000] == (3.0, 1 / 50)


def test_what_is_remembered_is_bounded_and_what_recurs_stays(monkeypatch, beside):
    monkeypatch.setattr(texts, "_REMEMBERED", 40_000)
    counting = Counting(byte_tokenizer().backend_tokenizer)
    known = Texts(counting, beside)
    for n in range(2000):
        found = known.encode({"the cat sat": False, f"and the dog {n}": False})
        assert found["the cat sat"].ids.tolist() == counting.encode("the cat sat").ids
    assert counting.texts.count("the cat sat") == 1
    assert len(known._latest) + len(known._before) < 500


def test_where_tokens_begin_is_found_only_where_it_is_asked_for(beside):
    counting = Counting(byte_tokenizer().backend_tokenizer)
    known = Texts(counting, beside)
    assert known.encode({"the cat": False})["the cat"].begins is None
    begins = known.encode({"the cat": True})["the cat"].begins
    assert begins.tolist() == [begin for begin, _ in counting.encode("the cat").offsets]
    assert known.encode({"the cat": False})["the cat"].begins is begins
    assert counting.texts == ["the cat"] * 2  # once more for the offsets, then never again


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_text_on_its_way_is_not_encoded_again_unless_more_is_asked_of_it(beside, order):
    counting = Counting(byte_tokenizer().backend_tokenizer)
    known = Texts(counting, beside)
    first = known.begin({"the cat": False, "the dog": True})
    second = known.begin({"the cat": True, "the dog": False, "yes": False})
    third = known.begin({"the cat": True, "the dog": True, "yes": False})
    found = dict((at, known.finish((first, second, third)[at])) for at in order)
    assert sorted(counting.texts) == ["the cat", "the cat", "the dog", "yes"]
    assert found[0]["the cat"].begins is None and found[1]["the cat"].begins is not None
    assert found[2] == {"the cat": found[1]["the cat"], "the dog": found[0]["the dog"], "yes": found[1]["yes"]}
    for text, tokens in found[2].items():
        assert tokens.ids.tolist() == counting.encode(text).ids
    assert known.encode({"the cat": True, "yes": False}) and len(counting.texts) == 4


def test_an_error_while_rows_are_read_ends_the_stream_and_its_thread():
    def parts():
        yield Part([pair("yes", " the cat", " the dog")])
        raise RuntimeError("the file ends here")

    with pytest.raises(RuntimeError, match="the file ends here"):
        list(encoder(byte_tokenizer()).stream(parts()))
