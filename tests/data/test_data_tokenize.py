import numpy as np
import pytest
from small_tokenizers import (
    AT,
    assistant,
    byte_tokenizer,
    demonstration,
    encode,
    encoder,
    labelled,
    pair,
    scored,
    text,
    user,
)

from logratio.errors import ModelError
from logratio.records import Carried, Prompt, Ranked

CHAT = (user("Hello"),)
HH = "\n\nHuman: what is this?\n\nAssistant:"


def shown(tokenizer, row):
    return [text(tokenizer, ids) for ids in row.responses]


def losses(tokenizer, row):
    return [scored(tokenizer, ids, mask) for ids, mask in zip(row.responses, row.loss, strict=True)]


# Plain strings


def test_hall_of_fame_1_no_prompt_token_carries_loss_on_either_side():
    tokenizer = byte_tokenizer()
    row = encode(tokenizer, pair("the cat sat", " on the mat", " on the log"))[0][0]
    assert text(tokenizer, row.prompt) == "the cat sat"
    assert shown(tokenizer, row) == losses(tokenizer, row) == [" on the mat</s>", " on the log</s>"]


def test_hall_of_fame_2_the_first_and_the_last_response_token_carry_loss():
    tokenizer = byte_tokenizer()
    for row in encode(tokenizer, pair("the cat", " sat", " ran"), pair("", "sat on", "the mat"))[0]:
        assert all(mask[0] and mask[-1] for mask in row.loss)
    tokenizer = byte_tokenizer(template="newline_after_end")
    row = encode(tokenizer, pair(CHAT, (assistant("yes"),), (assistant("no"),)))[0][0]
    assert all(mask[0] and mask[-1] for mask in row.loss)


def test_hall_of_fame_3_each_response_has_its_own_mask():
    tokenizer = byte_tokenizer(template="newline_after_end")
    short = (assistant("no"),)
    long = (assistant("yes"), user("and?"), assistant("I am fine, thank you"))
    row = encode(tokenizer, pair(CHAT, short, long))[0][0]
    assert losses(tokenizer, row) == ["no<|end|>", "yes<|end|>I am fine, thank you<|end|>"]
    assert [len(mask) for mask in row.loss] == [len(ids) for ids in row.responses]


def test_hall_of_fame_6_an_answer_that_begins_another_keeps_its_end():
    tokenizer = byte_tokenizer()
    row = encode(tokenizer, pair("the dog", " sat", " sat on the log"))[0][0]
    assert shown(tokenizer, row) == [" sat</s>", " sat on the log</s>"]
    assert row.edges.tolist() == [[0, 1]]


@pytest.mark.parametrize("bos", [True, False])
def test_hall_of_fame_8_one_bos_where_it_is_wanted_and_one_trainable_eos(bos):
    tokenizer = byte_tokenizer(bos=bos)
    records = (
        pair("the cat", " sat</s>", " ran</s></s>"),
        pair("<s>the cat", " sat", "<s> ran"),
        pair("", "sat", "ran"),
    )
    for row in encode(tokenizer, *records)[0]:
        assert row.prompt.tolist().count(tokenizer.bos_token_id) == (
            1 if bos else text(tokenizer, row.prompt).count("<s>")
        )
        assert row.prompt[:1].tolist() == [tokenizer.bos_token_id] or not bos
        for ids, mask in zip(row.responses, row.loss, strict=True):
            assert ids.tolist().count(tokenizer.eos_token_id) == 1 and ids[-1] == tokenizer.eos_token_id and mask[-1]
            assert tokenizer.bos_token_id not in ids or not bos


def test_hall_of_fame_8_masks_go_by_length_so_that_pad_as_eos_is_harmless():
    plain, padded = byte_tokenizer(), byte_tokenizer(pad="</s>")
    record = pair("the </s> cat", " sat </s> on", " ran")
    one, other = encode(plain, record)[0][0], encode(padded, record)[0][0]
    assert all(mask.all() for mask in other.loss)
    assert [ids.tolist() for ids in one.responses] == [ids.tolist() for ids in other.responses]


def test_hall_of_fame_8_the_end_of_a_turn_is_not_doubled_when_the_text_has_it():
    tokenizer = byte_tokenizer(template="newline_after_end")
    row = encode(tokenizer, pair(CHAT, (assistant("yes</s>"),), (assistant("no<|end|>"),)))[0][0]
    assert shown(tokenizer, row) == ["yes<|end|>", "no<|end|>"]


def test_hall_of_fame_9_every_later_turn_is_there():
    tokenizer = byte_tokenizer(template="newline_after_end")
    turns = tuple(turn for n in range(5) for turn in (assistant(f"yes {n}"), user(f"and {n}?"))) + (assistant("no"),)
    row = encode(tokenizer, demonstration(CHAT, turns))[0][0]
    assert losses(tokenizer, row) == ["".join(f"yes {n}<|end|>" for n in range(5)) + "no<|end|>"]


def test_the_response_is_the_joint_tokens_where_the_prompt_is_their_prefix():
    tokenizer = byte_tokenizer()
    row = encode(tokenizer, pair("the cat", " sat on the mat", " sat on the log"))[0][0]
    joint = tokenizer("the cat sat on the mat", add_special_tokens=False).input_ids
    assert [*row.prompt, *row.responses[0]] == [*joint, tokenizer.eos_token_id]


def test_a_merged_boundary_is_tokenised_apart_and_counted():
    tokenizer = byte_tokenizer()
    assert len(tokenizer("the", add_special_tokens=False).input_ids) == 1
    rows, tally = encode(tokenizer, pair("on t", "he mat", "wo"), pair("the cat", " sat", " ran"))
    row = rows[0]
    assert row.prompt.tolist() == tokenizer("on t", add_special_tokens=False).input_ids
    assert row.responses[0].tolist()[:-1] == tokenizer("he mat", add_special_tokens=False).input_ids
    assert tally.counts["merged"] == 1
    assert tally.examples["merged"] == ["made.jsonl, row 7: …'on t' + 'he mat'"]


def test_a_merged_boundary_behind_a_template_splits_the_same_way():
    tokenizer = byte_tokenizer(template="newline_after_end")
    turns = (assistant("\n\nyes"), user("and?"), assistant("no"))
    rows, tally = encode(tokenizer, demonstration(CHAT, turns))
    prompt = tokenizer.apply_chat_template(list(CHAT), add_generation_prompt=True, return_dict=False)
    assert rows[0].prompt.tolist() == prompt
    assert losses(tokenizer, rows[0]) == ["\n\nyes<|end|>no<|end|>"]
    assert tally.counts["merged"] == 1


def test_text_of_many_bytes_a_character_is_split_between_tokens():
    tokenizer = byte_tokenizer(template="newline_after_end")
    turns = (assistant("😀 ja, größer"), user("日本語"), assistant("🎉🎉"))
    row = encode(tokenizer, demonstration(CHAT, turns))[0][0]
    assert losses(tokenizer, row) == ["😀 ja, größer<|end|>🎉🎉<|end|>"]


def test_a_text_without_prompt_is_all_response():
    tokenizer = byte_tokenizer(template="newline_after_end")
    rows, tally = encode(tokenizer, demonstration("", "the cat sat"), kind="demonstrations")
    assert (len(rows[0].prompt), shown(tokenizer, rows[0])) == (0, ["the cat sat</s>"])
    assert tally.rendered == {"plain text": 1}


# Strings with a chat model


def test_a_transcript_becomes_messages_and_other_strings_two_turns():
    tokenizer = byte_tokenizer(template="newline_after_end")
    rows, tally = encode(tokenizer, pair(HH, " a test", " no"), pair("Hello", "yes", "no"))
    assert text(tokenizer, rows[0].prompt) == "<|turn|>user\nwhat is this?<|end|>\n<|turn|>assistant\n"
    assert shown(tokenizer, rows[0]) == ["a test<|end|>", "no<|end|>"]
    assert text(tokenizer, rows[1].prompt) == "<|turn|>user\nHello<|end|>\n<|turn|>assistant\n"
    assert tally.rendered == {"transcript": 1, "one user and one assistant turn": 1}


def test_a_transcript_that_goes_on_for_several_turns_keeps_them():
    tokenizer = byte_tokenizer(template="newline_after_end")
    rows, _ = encode(tokenizer, demonstration(HH, " a test\n\nHuman: and?\n\nAssistant: no"))
    assert losses(tokenizer, rows[0]) == ["a test<|end|>no<|end|>"]


def test_prompts_alone_are_those_of_training():
    for tokenizer in (byte_tokenizer(bos=True), byte_tokenizer(bos=True, template="newline_after_end")):
        prompts = (HH, "Hello", "")
        rows, _ = encode(tokenizer, *(pair(prompt, " yes", " no") for prompt in prompts))
        alone = encoder(tokenizer).prompts([Prompt(prompt=prompt, origin=AT) for prompt in prompts])
        assert [ids.tolist() for ids in alone] == [row.prompt.tolist() for row in rows]


# Which turns carry loss

A1, U2, A2 = assistant("yes"), user("and?"), assistant("no")


@pytest.mark.parametrize(
    ("loss_on", "prompt", "expected"),
    [
        ("response", "<|turn|>user\nHello<|end|>\n<|turn|>assistant\n", "yes<|end|>no<|end|>"),
        (
            "last",
            "<|turn|>user\nHello<|end|>\n<|turn|>assistant\nyes<|end|>\n<|turn|>user\nand?<|end|>\n<|turn|>assistant\n",
            "no<|end|>",
        ),
        ("all", "<|turn|>user\nHello<|end|>\n<|turn|>assistant\n", "yes<|end|>no<|end|>"),
    ],
)
def test_loss_on_a_single_response(loss_on, prompt, expected):
    tokenizer = byte_tokenizer(template="newline_after_end")
    row = encode(tokenizer, demonstration(CHAT, (A1, U2, A2)), loss_on=loss_on)[0][0]
    assert text(tokenizer, row.prompt) == prompt
    assert losses(tokenizer, row) == [expected]


@pytest.mark.parametrize(
    ("loss_on", "expected"),
    [
        ("response", ["no<|end|>", "yes<|end|>"]),
        ("last", ["no<|end|>", "yes<|end|>"]),
        ("all", ["yes<|end|>no<|end|>", "yes<|end|>yes<|end|>"]),
    ],
)
def test_loss_on_a_pair_that_shares_an_earlier_turn(loss_on, expected):
    tokenizer = byte_tokenizer(template="newline_after_end")
    for record in (  # the shared turns may stand in the prompt or in the responses
        pair((*CHAT, A1, U2), (A2,), (assistant("yes"),)),
        pair(CHAT, (A1, U2, A2), (A1, U2, assistant("yes"))),
    ):
        rows, tally = encode(tokenizer, record, loss_on=loss_on)
        assert losses(tokenizer, rows[0]) == expected
        assert text(tokenizer, rows[0].prompt).count("assistant") == (1 if loss_on == "all" else 2)
        assert tally.counts["early"] == 0


def test_pairs_that_part_before_the_last_turn_are_counted():
    tokenizer = byte_tokenizer(template="newline_after_end")
    record = pair(CHAT, (A1, U2, A2), (assistant("I am fine"), U2, A2))
    rows, tally = encode(tokenizer, record)
    assert tally.counts["early"] == 1
    assert losses(tokenizer, rows[0]) == ["yes<|end|>no<|end|>", "I am fine<|end|>no<|end|>"]
    rows, _ = encode(tokenizer, record, loss_on="last")
    assert losses(tokenizer, rows[0]) == ["no<|end|>", "no<|end|>"]
    assert text(tokenizer, rows[0].prompt) == "<|turn|>user\nHello<|end|>\n<|turn|>assistant\n"


def test_turns_behind_the_last_answer_are_left_out():
    tokenizer = byte_tokenizer(template="newline_after_end")
    row = encode(tokenizer, demonstration(CHAT, (A1, U2)))[0][0]
    assert shown(tokenizer, row) == ["yes<|end|>"]


# Columns, edges and what is dropped


def test_columns_are_those_of_the_kind_and_hold_what_is_carried():
    tokenizer = byte_tokenizer()
    carried = Carried(weight=2.0, margin=0.5, probability=0.75)
    rows, _ = encode(tokenizer, pair("a", " b", " c", carried=carried), pair("a", " b", " d"))
    assert {name: list(values) for name, values in rows[0].edge.items()} == {
        "weight": [2.0],
        "margin": [0.5],
        "probability": [0.75],
        "tie": [0.0],
    }
    assert [list(rows[1].edge[name]) for name in ("weight", "margin", "probability")] == [[1.0], [0.0], [1.0]]
    assert {name: list(values) for name, values in rows[0].response.items()} == {"weight": [2.0, 2.0]}
    rows, _ = encode(tokenizer, labelled("a", " b", True), labelled("a", " c", False), kind="labels")
    assert [row.response["label"].tolist() for row in rows] == [[1.0], [0.0]]
    assert all(row.edges.shape == (0, 2) and row.edges.dtype == np.int32 for row in rows)


def test_a_ranking_gives_an_edge_for_every_two_different_scores():
    tokenizer = byte_tokenizer()
    ranked = Ranked(prompt="a", responses=(" b", " c", " d", " e"), scores=(1.0, 3.0, 1.0, 2.0), origin=AT)
    row = encode(tokenizer, ranked, kind="rankings")[0][0]
    assert {tuple(edge) for edge in row.edges.tolist()} == {(1, 0), (1, 2), (1, 3), (3, 0), (3, 2)}
    assert row.response["score"].tolist() == [1.0, 3.0, 1.0, 2.0]
    assert "score" not in encode(tokenizer, ranked, kind="pairs")[0][0].response


def test_what_cannot_be_learned_from_is_dropped_with_its_reason():
    tokenizer = byte_tokenizer(template="drops_earlier_thoughts")
    thoughts = [(assistant(f"<think>{thought}</think>yes"), U2, A2) for thought in ("the cat", "the dog")]
    rows, tally = encode(
        tokenizer,
        pair(CHAT, *thoughts),
        pair(CHAT, (U2,), (A1,)),
        pair((), (user("one"), A1), (user("two"), A2)),
        demonstration(CHAT, (assistant(""),)),
        Ranked(prompt=CHAT, responses=((A1,), (A2,)), scores=(1.0, 1.0), origin=AT),
    )
    assert not rows
    assert tally.dropped == {
        "identical responses": 1,
        "no assistant turn": 1,
        "no shared prompt": 1,
        "empty response": 1,
        "no winner": 1,
    }


def test_rows_keep_their_place_among_the_records():
    tokenizer = byte_tokenizer()
    rows, _ = encode(tokenizer, pair("a", " b", " c"), pair("a", " b", " b"), pair("a", " b", " d"))
    assert [row.at for row in rows] == [0, 2]


def test_more_records_than_one_call_of_the_tokenizer_takes():
    tokenizer = byte_tokenizer()
    rows, _ = encode(tokenizer, *(pair(f"the {n}", f" cat {n}", " dog") for n in range(2500)))
    assert [row.at for row in rows] == list(range(2500))
    assert text(tokenizer, rows[2100].responses[0]) == " cat 2100</s>"


def test_padding_left_on_by_an_earlier_call_changes_nothing():
    tokenizer = byte_tokenizer()
    record = pair("the cat", " sat", " ran")
    before = encode(tokenizer, record)[0][0]
    tokenizer(["the", "the cat sat on the mat"], padding=True, truncation=True, max_length=2)
    after = encode(tokenizer, record)[0][0]
    assert before.responses[0].tolist() == after.responses[0].tolist()


def test_a_tokenizer_without_the_library_underneath_is_refused():
    class Slow:
        backend_tokenizer = None
        chat_template = None

    with pytest.raises(ModelError, match="Slow is not backed by the tokenizers library"):
        encoder(Slow())


# Real tokenizers


@pytest.mark.parametrize(
    "name", ["tokenizers/gpt2", "models/reviews-7m", "models/stories-260k", "models/stories-char-936k"]
)
def test_real_tokenizers_give_back_the_text_between_one_bos_and_one_eos(shared_data, name):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared_data / name)
    wants = tokenizer("a").input_ids[0] == tokenizer.bos_token_id
    row = encode(tokenizer, pair(HH, " This is a test, is it not?", " No"))[0][0]
    assert (row.prompt[0] == tokenizer.bos_token_id) == wants
    assert tokenizer.bos_token_id not in row.prompt[1:]
    for ids, said in zip(row.responses, ("This is a test, is it not?", "No"), strict=True):
        assert ids[-1] == tokenizer.eos_token_id and tokenizer.eos_token_id not in ids[:-1]
        if "char" not in name:  # its vocabulary lacks some characters
            assert tokenizer.decode(ids[:-1]).strip() == said
