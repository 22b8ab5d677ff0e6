import pytest

from logratio.data.messages import messages_of, tools_of
from logratio.data.problems import Unreadable


def one(**message):
    return messages_of([message], "chosen")[0]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_the_five_roles_pass(role):
    assert one(role=role, content="x") == {"role": role, "content": "x"}


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b", "image": None}, "c"]
    assert one(role="user", content=parts) == {"role": "user", "content": "a bc"}


def test_null_content_beside_calls_is_empty_text_and_arguments_become_an_object():
    function = {"name": "f", "arguments": '{"x": [1, null]}'}
    message = one(role="assistant", content=None, tool_calls=[{"id": "1", "type": "function", "function": function}])
    assert message["content"] == ""
    assert message["tool_calls"] == [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": [1, None]}}}
    ]
    assert one(role="assistant", tool_calls=[{"name": "f", "arguments": {"x": 1}}])["tool_calls"] == [
        {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    ]


def test_keys_that_templates_read_stay_and_null_keys_go():
    message = one(role="assistant", content="x", reasoning_content="r", thinking="t", name="n", tool_calls=None)
    assert message == {"role": "assistant", "content": "x", "reasoning_content": "r", "thinking": "t", "name": "n"}
    assert one(role="tool", content="x", tool_call_id="1")["tool_call_id"] == "1"


def test_sharegpt_turns_become_messages():
    turns = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "u"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
        {"from": "observation", "value": "o"},
        {"from": "gpt", "value": "a"},
    ]
    messages = messages_of(turns, "conversations")
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert messages[2] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
    }


_IMAGE = {"type": "image_url", "image_url": {"url": "x"}}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("text", "`chosen` is text, must be a list of messages"),
        ([3], "`chosen`, message 1: is a number, must be an object with role and content"),
        (
            [{"content": "x"}],
            "`chosen`, message 1: has no role, must be one of system, developer, user, assistant, tool",
        ),
        (
            [{"role": "user", "content": "a"}, {"role": "bot", "content": "x"}],
            '`chosen`, message 2: role "bot" is unknown',
        ),
        (
            [{"role": "user", "content": None}],
            "message 1: content is null, must be text, a list of text parts, or null",
        ),
        ([{"role": "user", "content": 3}], "content is a number"),
        ([{"role": "user", "content": [_IMAGE]}], "message 1, part 1: holds image, and only text can be trained on"),
        ([{"role": "user", "content": [{"type": "input_audio", "x": 1}]}], "part 1: holds audio"),
        ([{"role": "user", "content": [{"type": "text", "text": "x", "image": "b64"}]}], "part 1: holds image"),
        ([{"role": "user", "content": "x", "images": ["b64"]}], "message 1: holds image"),
        ([{"role": "user", "content": [{"type": "table", "text": "x"}]}], 'has type "table", must be "text"'),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "tool call 1: names no function"),
        ([{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{x"}]}], "arguments is no JSON text"),
        ([{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1]"}]}], "arguments is a list, must be an"),
        ([{"role": "user", "content": "a\ud800"}], r"holds \ud800, half of a character, at position 2"),
    ],
)
def test_what_is_no_message_says_why(messages, said):
    with pytest.raises(Unreadable) as caught:
        messages_of(messages, "chosen")
    assert said in str(caught.value)


def test_tools_come_as_a_list_or_as_json_text():
    assert tools_of('[{"name": "f"}]') == tools_of([{"name": "f"}]) == ({"name": "f"},)
    assert tools_of(None) is tools_of([]) is tools_of("") is None
    with pytest.raises(Unreadable, match="`tools` is an object, must be a list of JSON schemas"):
        tools_of({"name": "f"})
