import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from logratio.data.problems import EMPTY, IDENTICAL, NO_ASSISTANT, NO_PROMPT, Unusable
from logratio.data.shared import joined, shared_messages, shared_text, shared_transcript
from logratio.data.transcript import parse_transcript, transcript_messages

H, A = "\n\nHuman:", "\n\nAssistant:"


def user(text):
    return {"role": "user", "content": text}


def bot(text):
    return {"role": "assistant", "content": text}


_LINE = st.text(alphabet="ab c\n:", min_size=1, max_size=6).filter(lambda text: text.strip() and "\n\n" not in text)


@given(turns=st.lists(st.tuples(_LINE, _LINE), max_size=2), ask=_LINE, one=_LINE, other=_LINE)
def test_transcripts_that_differ_in_their_last_answer_split_before_it(turns, ask, one, other):
    assume(one != other)
    prompt = "".join(f"{H} {q}{A} {a}" for q, a in turns) + f"{H} {ask}{A}"
    assert shared_transcript((f"{prompt} {one}", f"{prompt} {other}")) == (prompt, (f" {one}", f" {other}"))


def test_an_answer_that_begins_another_stays_whole():
    prompt = f"{H} Well?{A}"
    assert shared_transcript((f"{prompt} Yes", f"{prompt} Yes, sure")) == (prompt, (" Yes", " Yes, sure"))


def test_a_shorter_dialogue_is_not_split_at_the_longer_ones_last_answer():
    prompt = f"{H} Well?{A}"
    longer = f" Yes.{H} Sure?{A} Very."
    assert shared_transcript((prompt + longer, f"{prompt} No.")) == (prompt, (longer, " No."))
    assert shared_transcript((f"{prompt} Yes.", prompt + longer)) == (prompt, (" Yes.", longer))


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (f"{H} a{A} x", f"{H} b{A} y", NO_PROMPT),
        (f"{H} a{A} x", "", NO_PROMPT),
        (f"{H} a{A} x", f"{H} a{A}", EMPTY),
        (f"{H} a{A} x", f"{H} a{A}  \n", EMPTY),
        (f"{H} a{A} x", f"{H} a{A} x", IDENTICAL),
    ],
)
def test_unusable_transcripts_say_why(chosen, rejected, reason):
    with pytest.raises(Unusable, match=reason):
        shared_transcript((chosen, rejected))


_WORDS = st.lists(st.text(alphabet="abc", min_size=1, max_size=3), min_size=1, max_size=4)


@given(common=_WORDS, one=_WORDS, other=_WORDS)
def test_plain_texts_split_between_words_and_join_again(common, one, other):
    assume(one != other)
    texts = tuple(" ".join(common + end) for end in (one, other))
    prompt, responses = shared_text(texts)
    assert tuple(prompt + response for response in responses) == texts
    assert all(response.startswith(" ") and response.strip() for response in responses)
    # as long as it can be: one more word is not shared, or leaves a response empty
    following = [response.split() for response in responses]
    assert following[0][0] != following[1][0] or min(map(len, following)) == 1


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The sky is blue.", "The sky is green.", "The sky is"),
        ("The sky is blue", "The sky is bluer", "The sky is"),
        ("The sky is blue", "The sky is blue and wide", "The sky is"),
        ("Word\none", "Word two", "Word"),
    ],
)
def test_plain_texts_by_hand(chosen, rejected, prompt):
    assert shared_text((chosen, rejected))[0] == prompt


def test_plain_texts_without_a_common_word_share_no_prompt():
    with pytest.raises(Unusable, match=NO_PROMPT):
        shared_text(("The sky", "Then snow"))


def test_chats_split_before_the_last_common_answer():
    start = (user("a"), bot("b"), user("c"))
    assert shared_messages((start + (bot("x"),), start + (bot("y"),))) == (start, ((bot("x"),), (bot("y"),)))


def test_chats_that_part_early_keep_their_later_turns():
    one = (user("a"), bot("x"), user("c"), bot("d"))
    other = (user("a"), bot("y"))
    assert shared_messages((one, other)) == ((user("a"),), (one[1:], other[1:]))


def test_a_chat_that_begins_another_splits_before_the_common_answer():
    short = (user("a"), bot("b"))
    long = (*short, user("c"), bot("d"))
    assert shared_messages((long, short)) == ((user("a"),), (long[1:], short[1:]))


def test_turns_after_the_last_answer_are_left_out():
    assert shared_messages(((user("a"), bot("b"), user("bye")),)) == ((user("a"),), ((bot("b"),),))


@given(
    prompt=st.lists(st.sampled_from([user("u"), user("v"), bot("a"), bot("b")]), max_size=4),
    tails=st.lists(st.lists(st.sampled_from([user("u"), bot("a"), bot("b")]), max_size=3), min_size=2, max_size=3),
)
def test_whatever_splits_joins_again(prompt, tails):
    chats = [(user("start"), *prompt, *tail) for tail in tails]
    try:
        shared, responses = shared_messages(chats)
    except Unusable:
        return
    assert all(response[0]["role"] == "assistant" for response in responses)
    for chat, response in zip(chats, responses, strict=True):
        whole = shared + response
        assert chat[: len(whole)] == whole
        assert all(turn["role"] != "assistant" for turn in chat[len(whole) :])


def test_text_stays_text_while_all_is_text():
    assert joined("p", ("a", "b")) == ("p", ("a", "b"))


def test_text_beside_messages_becomes_a_turn():
    assert joined((user("p"),), ("a", (bot("b"),))) == ((user("p"),), ((bot("a"),), (bot("b"),)))
    assert joined("p", ((bot("a"),), (bot("b"),))) == ((user("p"),), ((bot("a"),), (bot("b"),)))


def test_a_shared_prefix_outranks_a_prompt_text_beside_it():
    chats = tuple((user("in the list"), bot(text)) for text in ("a", "b"))
    assert joined("beside", chats) == ((user("in the list"),), ((bot("a"),), (bot("b"),)))


def test_a_prompt_list_is_kept_once_and_a_system_list_is_not_lost():
    chats = tuple((user("p"), bot(text)) for text in ("a", "b"))
    assert joined((user("p"),), chats)[0] == (user("p"),)
    system = {"role": "system", "content": "s"}
    assert joined((system,), chats)[0] == (system, user("p"))


def test_an_assistant_in_the_prompt_is_not_taken_for_the_response():
    prompt = (user("a"), bot("b"), user("c"))
    assert joined(prompt, ("d",)) == (prompt, ((bot("d"),),))


@pytest.mark.parametrize(
    ("responses", "reason"),
    [
        (((user("x"),), (bot("y"),)), NO_ASSISTANT),
        (((), (bot("y"),)), NO_ASSISTANT),
        (((bot(" "),), (bot("y"),)), EMPTY),
        (("", "y"), EMPTY),
        (((bot("y"),), (bot("y"),)), IDENTICAL),
        (("z", "z"), IDENTICAL),
    ],
)
def test_unusable_responses_say_why(responses, reason):
    with pytest.raises(Unusable, match=reason):
        joined((user("p"),), responses)


def test_a_call_without_text_is_an_answer():
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    assert joined("p", ((call,), "no"))[1][0] == (call,)


def test_a_transcript_becomes_messages():
    text = f"{H} Hi there.{A} Hello!\n\nHow are you?{H} Fine: and you?{A}"
    assert parse_transcript(text) == (user("Hi there."), bot("Hello!\n\nHow are you?"), user("Fine: and you?"))
    assert parse_transcript("No marks at all") is None
    assert transcript_messages(text, f" Well.{H} Good.{A} Bye.") == (
        parse_transcript(text),
        (bot("Well."), user("Good."), bot("Bye.")),
    )
    assert transcript_messages("plain", " text") is None
