import math
from pathlib import Path

import pytest

from logratio.config import DataPart, RowsConfig
from logratio.data.formats import FORMATS
from logratio.data.source import read_records
from logratio.errors import DataError
from logratio.records import Demonstration, Labelled, Pair, Prompt, Ranked

FIXTURES = Path(__file__).parent / "fixtures"
SKY, RIVER = "Why is the sky blue?", "Name a river in France."
AIR, SEA = "Air scatters blue light more than red.", "Because of the sea."


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def bot(text, **more):
    return {"role": "assistant", "content": text, **more}


POST = (
    "SUBREDDIT: r/garden\nTITLE: A talk over the fence\n"
    f"POST: I asked my neighbour: {SKY} He said: {AIR} I did not believe him.\nTL;DR:"
)
GREETED = (user("Hi."), bot("Hello!"), user(SKY))
RESPONSES = (SEA, AIR, f"{AIR} I think.")

# fixture → (format, rows kept, type, the first row's fields)
EXPECTED = {
    "pairs_explicit": ("pairs with their prompt", 5, Pair, dict(prompt=SKY, chosen=AIR, rejected=SEA)),
    "pairs_explicit_messages": (
        "pairs with their prompt",
        5,
        Pair,
        dict(prompt=(user(SKY),), chosen=(bot(AIR),), rejected=(bot(SEA),)),
    ),
    "pairs_chats": (
        "pairs of chats that share their prompt",
        5,
        Pair,
        dict(prompt=(user(SKY),), chosen=(bot(AIR),), rejected=(bot(SEA),)),
    ),
    "pairs_tulu": (
        "pairs of chats that share their prompt",
        5,
        Pair,
        dict(prompt=(user(SKY),), chosen=(bot(AIR),), rejected=(bot(SEA),)),
    ),
    "pairs_transcripts": (
        "pairs of Human/Assistant transcripts",
        5,
        Pair,
        dict(prompt=f"\n\nHuman: {SKY}\n\nAssistant:", chosen=f" {AIR}", rejected=f" {SEA}"),
    ),
    "pairs_texts": (
        "pairs of texts that begin alike",
        5,
        Pair,
        dict(prompt="The sky is", chosen=" blue by day.", rejected=" green by day."),
    ),
    "pairs_tools": ("pairs with their prompt", 5, Pair, dict(rejected=(bot("I cannot do that."),))),
    "pairs_question": (
        "pairs with their prompt",
        5,
        Pair,
        dict(prompt=(system("Answer as a physicist."), user(SKY)), chosen=(bot(AIR),), rejected=(bot(SEA),)),
    ),
    "pairs_sharegpt": (
        "pairs after a chat",
        5,
        Pair,
        dict(prompt=(user(SKY),), chosen=(bot(AIR),), rejected=(bot(SEA),)),
    ),
    "labelled": ("labelled responses", 5, Labelled, dict(prompt=SKY, response=AIR, label=True)),
    "labelled_chat": ("labelled chats", 5, Labelled, dict(prompt=GREETED, response=(bot(AIR),), label=True)),
    "ranked_scores": (
        "scored responses",
        5,
        Ranked,
        dict(prompt=SKY, responses=RESPONSES, scores=(1.0, 9.5, 7.0)),
    ),
    "ranked_ranks": (
        "ranked responses",
        5,
        Ranked,
        dict(prompt=SKY, responses=RESPONSES, scores=(-3.0, -1.0, -2.0)),
    ),
    "drawn": ("responses that a run drew", 3, Ranked, dict(prompt=SKY, responses=(SEA, AIR), scores=(0.0, 2.5))),
    "helpsteer2": ("HelpSteer", 4, Pair, dict(prompt=SKY, chosen=AIR, rejected=SEA)),
    "helpsteer3": ("HelpSteer", 4, Pair, dict(prompt=GREETED, chosen=(bot(AIR),), rejected=(bot(SEA),))),
    "arena": ("arena", 3, Pair, dict(prompt=(user(SKY),), chosen=(bot(AIR),), rejected=(bot(SEA),))),
    "judged": ("pairs judged by people", 3, Pair, dict(prompt=SKY, chosen=AIR, rejected=SEA, first="chosen")),
    "shp": ("SHP", 5, Pair, dict(prompt=SKY, chosen=AIR, rejected=SEA)),
    "summaries": (
        "post with two summaries",
        5,
        Pair,
        dict(prompt=POST, chosen=f" My neighbour says: {AIR}", rejected=f" {SEA}"),
    ),
    "completion": ("demonstrations", 5, Demonstration, dict(prompt=SKY, response=f" {AIR}")),
    "completion_messages": (
        "demonstrations",
        5,
        Demonstration,
        dict(prompt=(system("Be brief."), user(SKY)), response=(bot(AIR, thinking="Simple."),)),
    ),
    "alpaca": ("Alpaca demonstrations", 5, Demonstration, dict(prompt="Answer the question.", response=AIR)),
    "messages": (
        "chats",
        5,
        Demonstration,
        dict(prompt=(system("Be brief."), user("Hi.")), response=(bot("Hello!"), user(SKY), bot(AIR))),
    ),
    "sharegpt": (
        "ShareGPT chats",
        5,
        Demonstration,
        dict(prompt=(system("Be brief."), user(SKY)), response=(bot(AIR),)),
    ),
    "text": ("plain text", 5, Demonstration, dict(prompt="", response=f"{SKY} {AIR}")),
    "prompts": ("prompts alone", 5, Prompt, dict(prompt=SKY)),
    "prompts_messages": ("prompts alone", 5, Prompt, dict(prompt=(user(SKY),))),
}


def load(data, **rows):
    stream = read_records(data, RowsConfig(**rows))
    return list(stream), stream.report


def fixture(name):
    return load((DataPart(path=str(FIXTURES / f"{name}.jsonl")),))


def test_every_fixture_is_expected_and_every_format_has_one():
    assert {path.stem for path in FIXTURES.glob("*.jsonl")} == set(EXPECTED)
    found = {format for name in EXPECTED for format in fixture(name)[1].formats.values()}
    assert found == {entry.name for entry in FORMATS}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_fixture_is_known_by_its_columns_and_becomes_records(name):
    format, kept, kind, first = EXPECTED[name]
    records, report = fixture(name)
    (printed,) = report.formats.values()
    assert printed.startswith(format)
    assert report.read == 5 and report.kept == len(records) == kept
    assert all(type(record) is kind for record in records)
    assert {field: getattr(records[0], field) for field in first} == first
    assert records[0].origin.row == 1


def test_transcripts_with_several_turns_split_at_the_last_common_answer():
    records, _ = fixture("pairs_transcripts")
    assert records[1].prompt == f"\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: {RIVER}\n\nAssistant:"
    assert (records[2].chosen, records[2].rejected) == (" Eight minutes", " Eight minutes or more")
    assert records[3].chosen.endswith("\n\nHuman: Thanks.\n\nAssistant: You are welcome.")
    assert records[3].rejected == " Guten Tag."


def test_tools_and_calls_reach_the_record_in_one_form():
    records, _ = fixture("pairs_tools")
    call = {"name": "switch_lamp", "arguments": {"room": "kitchen", "on": True}}
    assert records[0].chosen[0]["tool_calls"] == [{"type": "function", "function": call}]
    assert records[0].chosen[2] == bot("It is on.", reasoning_content="The tool says done.")
    assert records[0].tools[0]["function"]["name"] == "switch_lamp"
    assert {type(record.chosen[0]["tool_calls"][0]["function"]["arguments"]) for record in records} == {dict}


def test_a_system_text_is_a_turn_and_none_where_it_is_empty():
    records, _ = fixture("pairs_question")
    assert [isinstance(record.prompt, str) for record in records] == [False, True, False, True, False]


def test_strengths_are_margins_and_their_sign_says_who_won():
    records, report = fixture("helpsteer2")
    assert [record.carried.margin for record in records] == [3, 2, 1, 1]
    assert records[1].chosen == "The Thames."  # strength 2: the second is better
    assert report.without_preference["tie"].count == 1


def test_arena_counts_ties_apart_even_where_answers_are_equal():
    _, report = fixture("arena")
    assert {reason: tally.count for reason, tally in report.without_preference.items()} == {"tie": 1, "both bad": 1}
    same = [user("a"), bot("b")]
    rows = [{"conversation_a": same, "conversation_b": same, "winner": winner} for winner in ("tie", "both_bad", None)]
    differ = {"conversation_a": same, "conversation_b": [user("a"), bot("c")], "winner": "model_b"}
    records, report = load([*rows, differ])
    assert records[0].chosen == (bot("c"),)
    assert set(report.without_preference) == {"tie", "both bad", "no winner"}
    assert not report.unusable


def test_of_pairs_judged_by_people_position_and_name_stay_and_ties_are_taken_where_asked():
    part = (DataPart(path=str(FIXTURES / "judged.jsonl")),)
    taken = {
        told: [record.tie for record in read_records(part, RowsConfig(), **dict(told))]
        for told in ((), (("both_bad", True),), (("ties", True),))
    }
    assert list(taken.values()) == [[None] * 3, [None] * 3 + ["both_bad"], [None] * 3 + ["tie", "both_bad"]]
    records, _ = fixture("judged")
    assert [(record.first, record.chosen == AIR or record.chosen == (bot(AIR),)) for record in records] == [
        ("chosen", True),
        ("rejected", True),
        ("chosen", True),
    ]
    assert {record.carried.annotator for record in records} == {"ada"}
    with pytest.raises(DataError, match='`winner` is "c", must be one of a, b, '):
        load([{"prompt": "p", "response_a": "x", "response_b": "y", "winner": "c"}])


def test_votes_give_the_logarithm_of_their_ratio():
    records, _ = fixture("shp")
    assert [record.carried.margin for record in records] == [math.log(r) for r in (2.0, 1.5, 4.0, 3.0, 10.0)]
    assert records[1].chosen == "The Thames."  # label 0: B has more votes


def test_an_alpaca_input_follows_its_instruction():
    records, _ = fixture("alpaca")
    assert records[1].prompt == f"Answer the question.\n\n{RIVER}"


# The standard and conversational text formats of TRL's documentation, with texts of our own.
TRL = [
    ({"text": "Snow is white."}, Demonstration),
    ({"messages": [user("Hue of snow?"), bot("White.")]}, Demonstration),
    ({"prompt": "Snow is"}, Prompt),
    ({"prompt": [user("Hue of snow?")]}, Prompt),
    ({"prompt": "Snow is", "completion": " white."}, Demonstration),
    ({"prompt": [user("Hue of snow?")], "completion": [bot("White.")]}, Demonstration),
    ({"prompt": "Snow is", "chosen": " white.", "rejected": " red."}, Pair),
    ({"chosen": "Snow is white.", "rejected": "Snow is red."}, Pair),
    ({"prompt": [user("Hue of snow?")], "chosen": [bot("White.")], "rejected": [bot("Red.")]}, Pair),
    ({"chosen": [user("Hue?"), bot("White.")], "rejected": [user("Hue?"), bot("Red.")]}, Pair),
    ({"prompt": "Snow is", "completion": " white.", "label": True}, Labelled),
    ({"prompt": [user("Hue of snow?")], "completion": [bot("Red.")], "label": False}, Labelled),
    (
        {
            "messages": [
                user("Lamp on."),
                {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]},
                {"role": "tool", "name": "f", "content": "on"},
                bot("Done."),
            ],
            "tools": '[{"type": "function", "function": {"name": "f"}}]',
        },
        Demonstration,
    ),
    ({"messages": [{"role": "developer", "content": "Kind."}, user("Hm?"), bot("Yes.", thinking="…")]}, Demonstration),
]


@pytest.mark.parametrize(("row", "kind"), TRL)
def test_every_text_format_of_trl_loads_as_it_is(row, kind):
    (record,), _ = load([row])
    assert type(record) is kind


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"prompt": "9.8 or 9.11?", "completions": ["a", "b"], "labels": [True, False]},
            "data, row 1: prompt/completions/labels is stepwise supervision",
        ),
        (
            {"images": ["x"], "prompt": "a", "chosen": "b", "rejected": "c"},
            "data, row 1: `images` holds image, and only",
        ),
        ({"audio": {"bytes": "x"}, "text": "b"}, "data, row 1: `audio` holds audio, and only text can be trained on"),
    ],
)
def test_pictures_sound_and_step_labels_are_refused_by_name(row, said):
    with pytest.raises(DataError) as caught:
        load([row])
    assert said in str(caught.value)


def test_a_picture_in_a_later_row_is_found():
    rows = [{"text": "a", "image": None}] * 99 + [{"text": "a", "image": "b64"}]
    with pytest.raises(DataError, match="data, row 100: `image` holds image"):
        load(rows)


def test_empty_columns_of_pictures_and_extra_columns_are_harmless():
    row = {"images": [], "prompt": "a", "chosen": "b", "rejected": "c", "meta": {"x": [1]}, "score_chosen": None}
    (record,), _ = load([row])
    assert record == Pair(prompt="a", chosen="b", rejected="c", origin=record.origin)


@pytest.mark.parametrize(
    ("columns", "remedy"),
    [
        ("question response_j response_k", "try --map chosen=response_j --map rejected=response_k"),
        ("query preferred dispreferred", "try --map prompt=query --map chosen=preferred --map rejected=dispreferred"),
        ("prompt answer_best answer_worst", "try --map chosen=answer_best --map rejected=answer_worst"),
        ("prompt candidates rewards", "try --map responses=candidates --map scores=rewards"),
        ("question answer is_good", "try --map completion=answer --map label=is_good"),
        ("question answer", "try --map completion=answer"),
        ("dialogue", "try --map messages=dialogue"),
        ("document", "try --map text=document"),
        ("prompt reply_a reply_b winner", "reply_a and reply_b look like two answers to judge between"),
        ("question output1 output2 verdict", "output1 and output2 look like two answers to judge between"),
        ("prompt ANSWER_A ANSWER_B", "ANSWER_A and ANSWER_B look like two answers to judge between"),
        ("zzz", "say which column is which with --map, as --map chosen=COLUMN"),
    ],
)
def test_unknown_columns_are_answered_with_the_nearest_map(columns, remedy):
    with pytest.raises(DataError) as caught:
        load([dict.fromkeys(columns.split(), "x")])
    said = str(caught.value)
    assert said.startswith("data, row 1: need prompt/chosen/rejected, ")
    assert f"found {'/'.join(columns.split())}; {remedy}" in said


def test_the_nearest_map_looks_inside_objects():
    with pytest.raises(DataError, match=r"try --map chosen=pair.chosen --map rejected=pair.rejected"):
        load([{"prompt": "a", "pair": {"chosen": "b", "rejected": "c"}, "response_style": "x"}])


@pytest.mark.parametrize("at", [0, 3, 9])
def test_a_stray_row_does_not_decide_on_the_format_of_all(at):
    """Transcripts, and one row with a prompt of its own: as pairs with a prompt, nine of ten would be unreadable."""
    said = "\n\nHuman: Hi {}\n\nAssistant:"
    rows = [{"chosen": f"{said.format(n)} Yes.", "rejected": f"{said.format(n)} No."} for n in range(9)]
    rows.insert(at, {"prompt": "p", "chosen": 3, "rejected": "x"})
    stream = read_records(rows, RowsConfig(skip_bad_rows=True))
    assert sum(1 for _ in stream) == 9
    assert stream.report.unreadable.count == 1


def test_a_column_that_most_rows_lack_is_still_missed_where_no_other_format_fits():
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}, *({"prompt": "p", "chosen": "a"} for _ in range(3))]
    with pytest.raises(DataError, match="`rejected` is missing"):
        list(read_records(rows, RowsConfig()))


def test_where_no_row_can_be_read_each_says_why():
    rows = [{"instruction": "p", "output": ["better", "worse"]} for _ in range(3)]
    with pytest.raises(DataError, match=r"3 of 3 rows cannot be read(.|\n)*row 1: `output` is a list"):
        list(read_records(rows, RowsConfig(skip_bad_rows=True)))


def test_prompts_of_a_phase_that_a_run_did_not_learn_from_teach_nothing_and_are_no_bad_rows():
    """Rows as a phase logs them, of which some have no `scores`, and none log-probs."""
    shared = {"prompt": "p", "responses": ["a", "b"], "ended": [True, True], "usage": {}}
    failed = [{**shared, "failed": "the service is away"}] * 4
    stream = read_records(
        [{**shared, "scores": [1.0, 0.0]}, *failed, {**shared, "scores": [2.0, 1.0], "replaced": True}], RowsConfig()
    )
    assert [record.scores for record in stream] == [(1.0, 0.0)]
    told = {reason: tally.count for reason, tally in stream.report.without_preference.items()}
    assert told == {"no verdict": 4, "replaced by another prompt": 1}
