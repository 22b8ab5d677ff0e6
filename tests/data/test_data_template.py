import datetime

import jinja2
import pytest
from small_tokenizers import (
    AT,
    TEMPLATES,
    assistant,
    byte_tokenizer,
    demonstration,
    encode,
    encoder,
    pair,
    scored,
    text,
    user,
)

from logratio.data.template import ChatTemplate, require_eos, wants_bos
from logratio.errors import ModelError, TemplateError
from logratio.records import Prompt

ALL = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
CHAT = (user("Hello"),)
YES, NO = (assistant("yes"),), (assistant("no, thank you"),)


def test_there_are_seven_templates():
    assert len(ALL) == 7


@pytest.mark.parametrize("name", ALL)
def test_the_prompt_is_what_transformers_gives_at_generation(name):
    tokenizer = byte_tokenizer(template=name)
    rows, _ = encode(tokenizer, pair(CHAT, YES, NO), date=datetime.date.today().isoformat())
    expected = tokenizer.apply_chat_template(list(CHAT), add_generation_prompt=True, return_dict=False)
    assert rows[0].prompt.tolist() == expected
    alone = encoder(tokenizer, date=datetime.date.today().isoformat()).prompts([Prompt(prompt=CHAT, origin=AT)])
    assert alone[0].tolist() == expected


@pytest.mark.parametrize("name", [name for name in ALL if name != "empty_think_block"])
def test_a_response_ends_with_its_end_of_turn_token_and_carries_loss_wholly(name):
    tokenizer = byte_tokenizer(template=name)
    rows, _ = encode(tokenizer, pair(CHAT, YES, NO))
    assert [text(tokenizer, ids) for ids in rows[0].responses] == ["yes<|end|>", "no, thank you<|end|>"]
    assert all(mask.all() for mask in rows[0].loss)


@pytest.mark.parametrize("wanted", [True, False])
def test_bos_inside_the_template_is_never_doubled(wanted):
    tokenizer = byte_tokenizer(bos=wanted, template="bos_inside")
    assert wants_bos(tokenizer) is wanted
    row = encode(tokenizer, pair(CHAT, YES, NO))[0][0]
    assert text(tokenizer, row.prompt) == "<s><|turn|>user|Hello<|end|><|turn|>assistant|"
    assert all(tokenizer.bos_token_id not in ids for ids in row.responses)


def test_a_wanted_bos_is_added_where_the_template_has_none():
    tokenizer = byte_tokenizer(bos=True, template="newline_after_end")
    row = encode(tokenizer, pair(CHAT, YES, NO))[0][0]
    assert text(tokenizer, row.prompt) == "<s><|turn|>user\nHello<|end|>\n<|turn|>assistant\n"


def test_an_earlier_thought_that_the_template_drops_is_counted_and_shown():
    tokenizer = byte_tokenizer(template="drops_earlier_thoughts")
    turns = (assistant("<think>the cat</think>yes"), user("and?"), assistant("<think>the dog</think>no"))
    rows, tally = encode(tokenizer, demonstration(CHAT, turns))
    row = rows[0]
    assert (
        text(tokenizer, row.responses[0])
        == "yes<|end|><|turn|>user|and?<|end|><|turn|>assistant|<think>the dog</think>no<|end|>"
    )
    assert scored(tokenizer, row.responses[0], row.loss[0]) == "yes<|end|><think>the dog</think>no<|end|>"
    assert tally.counts["swallowed"] == 1
    assert tally.examples["swallowed"] == ["made.jsonl, row 7: the cat"]


def test_a_last_thought_is_not_swallowed():
    tokenizer = byte_tokenizer(template="drops_earlier_thoughts")
    rows, tally = encode(tokenizer, demonstration(CHAT, (assistant("<think>the dog</think>no"),)))
    assert text(tokenizer, rows[0].responses[0]) == "<think>the dog</think>no<|end|>"
    assert tally.counts["swallowed"] == 0


def test_hall_of_fame_7_a_leading_think_block_of_the_chosen_response_stays():
    tokenizer = byte_tokenizer(template="empty_think_block")
    thinking = (assistant("yes", reasoning_content="the cat"),)
    row = encode(tokenizer, pair(CHAT, thinking, (assistant("<think>the dog</think>no"),)))[0][0]
    assert [scored(tokenizer, ids, mask) for ids, mask in zip(row.responses, row.loss, strict=True)] == [
        "<think>the cat</think>yes<|end|>",
        "<think>the dog</think>no<|end|>",
    ]


def test_an_empty_think_block_belongs_to_the_prompt_when_thinking_is_off():
    tokenizer = byte_tokenizer(template="empty_think_block")
    off = encode(tokenizer, pair(CHAT, YES, NO), kwargs={"enable_thinking": False})[0][0]
    assert text(tokenizer, off.prompt) == "<|turn|>user|Hello<|end|><|turn|>assistant|<think></think>"
    assert text(tokenizer, off.responses[0]) == "yes<|end|>"
    on = encode(tokenizer, pair(CHAT, YES, NO))[0][0]
    assert text(tokenizer, on.responses[0]) == "<think></think>yes<|end|>"


def test_a_later_turn_that_is_rendered_unlike_its_generation_is_refused_too():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<|turn|>{{ m.role }}|{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>{{ 'assistant' if messages | length == 1 else 'other' }}|{% endif %}"
    )
    turns = (assistant("yes"), user("and?"), assistant("no"))
    with pytest.raises(TemplateError, match="the prompt has 'other|', the whole 'assistant|no"):
        encode(tokenizer, demonstration(CHAT, turns))


def test_a_prompt_that_is_no_prefix_of_the_whole_names_the_template_and_the_difference():
    tokenizer = byte_tokenizer(template="empty_think_block")
    turns = (assistant("yes"), user("and?"), assistant("no"))
    with pytest.raises(TemplateError) as caught:
        encode(tokenizer, demonstration(CHAT, turns), kwargs={"enable_thinking": False})
    message = str(caught.value)
    assert message.startswith("made.jsonl, row 7: the chat template of ")
    assert "the prompt has '<think></think>', the whole 'yes<|end|>" in message
    assert "tokens.loss_on=last" in message
    kwargs = {"enable_thinking": False}
    row = encode(tokenizer, demonstration(CHAT, turns), kwargs=kwargs, loss_on="last")[0][0]  # the remedy works
    assert text(tokenizer, row.responses[0]) == "no<|end|>"
    rows, tally = encode(tokenizer, demonstration(CHAT, turns), kwargs=kwargs, skip_bad_rows=True)
    assert not rows and tally.dropped == {"not renderable by the template": 1}


def test_a_clock_is_told_the_fixed_date():
    tokenizer = byte_tokenizer(template="clock")
    row = encode(tokenizer, pair(CHAT, YES, NO), date="2024-03-05")[0][0]
    assert text(tokenizer, row.prompt).startswith("<|turn|>system|Today is 05 March 2024.<|end|><|turn|>user|")
    assert ChatTemplate(tokenizer, {}, "2024-03-05").reads_clock
    assert not ChatTemplate(byte_tokenizer(template="bos_inside"), {}, "2024-03-05").reads_clock


def test_every_form_of_date_is_understood():
    tokenizer = byte_tokenizer()
    form = "%Y-%m-%d %a %A %b %B %-d %y %j %H:%M:%S %I %p"
    tokenizer.chat_template = "{{ strftime_now('" + form + "') }}"
    rendered = ChatTemplate(tokenizer, {}, "2023-07-04").render(CHAT, generation=True)
    assert rendered == datetime.datetime(2023, 7, 4).strftime(form)


def test_what_follows_the_end_of_turn_is_dropped():
    tokenizer = byte_tokenizer(template="newline_after_end")
    chat = ChatTemplate(tokenizer, {}, "2024-03-05")
    assert (chat.tail, chat.end_text) == ("<|end|>\n", "<|end|>")
    turns = (assistant("yes"), user("and?"), assistant("no"))
    row = encode(tokenizer, demonstration(CHAT, turns))[0][0]
    assert text(tokenizer, row.responses[0]) == "yes<|end|>\n<|turn|>user\nand?<|end|>\n<|turn|>assistant\nno<|end|>"
    assert scored(tokenizer, row.responses[0], row.loss[0]) == "yes<|end|>no<|end|>"


def test_a_system_text_folded_into_the_user_turn():
    tokenizer = byte_tokenizer(template="system_in_user")
    row = encode(tokenizer, pair(({"role": "system", "content": "Be kind"}, *CHAT), YES, NO))[0][0]
    assert text(tokenizer, row.prompt) == "<|turn|>user|Be kind: Hello<|end|><|turn|>model|"


def test_tool_results_under_user_carry_no_loss():
    tokenizer = byte_tokenizer(template="tools_under_user")
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    turns = (assistant("", tool_calls=[call]), {"role": "tool", "content": "2"}, assistant("it is 2"))
    tools = ({"type": "function", "function": {"name": "add", "parameters": {}}},)
    row = encode(tokenizer, demonstration(CHAT, turns, tools=tools))[0][0]
    assert text(tokenizer, row.prompt).startswith('<|turn|>system|[{"type": "function", "function": {"name": "add"')
    assert "<|turn|>user|result 2<|end|>" in text(tokenizer, row.responses[0])
    assert scored(tokenizer, row.responses[0], row.loss[0]) == 'call add {"a": 1}<|end|>it is 2<|end|>'


def test_a_template_without_an_end_token_gets_eos_in_place_of_what_it_emits():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    row = encode(tokenizer, pair(CHAT, YES, NO))[0][0]
    assert text(tokenizer, row.prompt) + text(tokenizer, row.responses[0]) == "user: Hello\nassistant: yes</s>"


def test_a_chat_that_the_template_refuses_is_named():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('only one system turn') }}"
    with pytest.raises(
        TemplateError, match=r"row 7: the chat template of .* roles `user` \(only one system turn\)"
    ) as caught:
        encode(tokenizer, pair(CHAT, YES, NO))
    assert isinstance(caught.value.__cause__.__cause__, jinja2.TemplateError)


def test_messages_without_a_template_are_an_error_with_the_remedy():
    with pytest.raises(TemplateError, match="made.jsonl, row 7 holds messages, and no chat template"):
        encode(byte_tokenizer(), pair(CHAT, YES, NO))


def test_the_hash_knows_the_source_alone():
    one, other = byte_tokenizer(template="clock"), byte_tokenizer(template="bos_inside")
    assert ChatTemplate(one, {}, "2024-03-05").hash == ChatTemplate(one, {"a": 1}, "2025-01-01").hash
    assert ChatTemplate(one, {}, "2024-03-05").hash != ChatTemplate(other, {}, "2024-03-05").hash


def test_a_tokenizer_without_eos_is_refused_with_the_remedy():
    with pytest.raises(ModelError, match="no EOS token.*eos_token = "):
        require_eos(byte_tokenizer(eos=None))
