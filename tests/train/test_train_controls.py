"""Positive controls on real preferences: what can be learned is, what cannot is not, and each step is the plain one."""

import gzip
import json
import math

import pytest
import torch

from logratio.maths.counter import permutation, stream
from logratio.train.api import train

TURN = "\n\nAssistant:"
TINY = "stories-260k"


@pytest.fixture(scope="session")
def tiny(shared_data):
    return str(shared_data / "models" / TINY)


def harmless(shared_data, split, most):
    """Pairs that part at their last turn, both texts of at most `most` characters."""
    with gzip.open(shared_data / "hh-harmless" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    short = [row for row in rows if max(map(len, row.values())) <= most and prompt_of(row)]
    return [row for row in short if all(response.strip() for response in parts(row)[1:])]


def prompt_of(row):
    prompts = {text[: text.rindex(TURN) + len(TURN)] for text in row.values()}
    return prompts.pop() if len(prompts) == 1 else None


def parts(row):
    prompt = prompt_of(row)
    return prompt, *(row[side][len(prompt) :] for side in ("chosen", "rejected"))


def shuffled(rows, seed):
    """Each pair with its sides swapped by a coin."""
    coins = stream(seed, "shuffled labels").random(len(rows)) < 0.5
    return [
        {"chosen": row["rejected"], "rejected": row["chosen"]} if coin else row
        for row, coin in zip(rows, coins, strict=True)
    ]


def test_sixty_four_pairs_are_learned_by_heart(shared_data, tiny, tmp_path):
    rows = harmless(shared_data, "train", 150)[:64]
    settings = {"train.batch_size": 8, "train.epochs": 5, "train.lr": 3e-3, "eval.samples": 0, "every.eval": 1.0}
    run = train(tiny, rows, "dpo", eval_data=rows, output=tmp_path / "run", **settings)
    assert run.evaluation["accuracy"]["n"] == 64
    assert run.evaluation["accuracy"]["mean"] >= 0.98


@pytest.mark.slow
def test_shuffled_labels_teach_nothing_about_other_pairs(shared_data, tiny, tmp_path):
    rows, other = shuffled(harmless(shared_data, "train", 500), 0), harmless(shared_data, "test", 500)
    settings = {"train.batch_size": 16, "train.epochs": 3, "train.lr": 1e-3, "eval.samples": 0, "every.eval": 1.0}
    learned = []
    run = train(
        tiny,
        rows,
        "dpo",
        eval_data=other,
        output=tmp_path / "run",
        on_event=lambda event: learned.append(event.data["row"]["accuracy"]) if event.kind == "train" else None,
        **settings,
    )
    accuracy = run.evaluation["accuracy"]
    assert accuracy["low"] <= 0.5 <= accuracy["high"]
    tail = learned[-len(learned) // 3 :]  # the last epoch: its own pairs it knows by now
    assert sum(tail) / len(tail) > 0.6


def test_fifty_steps_are_those_of_a_plain_loop(shared_data, tiny, tmp_path):
    rows = harmless(shared_data, "train", 150)[:80]
    losses = []
    # AdamW's first update is lr times the gradient's sign. Where a gradient is 0 but for rounding, two right programs
    # may differ in that sign: at lr 1e-4 one such weight of this model moves the next loss by 1e-4.
    train(
        tiny,
        rows,
        "dpo",
        output=tmp_path / "run",
        on_event=lambda event: losses.append(event.data["row"]["loss"]) if event.kind == "train" else None,
        **{"train.batch_size": 4, "train.epochs": 2.5, "train.lr": 1e-5, "train.precision": "fp32"},
        **{"eval.holdout": 0, "eval.samples": 0},
    )
    plain = plain_dpo(tiny, rows, steps=50, batch=4, lr=1e-5, beta=0.1)
    assert len(losses) == 50
    assert losses == pytest.approx(plain, abs=1e-5)
    assert min(plain) < 0.6 < math.log(2)  # they moved, so there was something to agree on


def plain_dpo(folder, rows, *, steps, batch, lr, beta):
    """Return the losses of DPO written with transformers and torch alone; the order of rows is `permutation`'s."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval() for _ in range(2))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=lr, weight_decay=0.0)
    epoch, warm = len(rows) // batch, round(0.1 * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / (steps - warm))
    )
    losses = []
    for step in range(steps):
        order = permutation(len(rows), 0, step // epoch)[step % epoch * batch :][:batch]
        prompts, chosen, rejected = zip(*(parts(rows[i]) for i in order), strict=True)
        texts = tokenizer, 2 * prompts, chosen + rejected
        with torch.no_grad():
            fixed = log_prob(reference, *texts)
        chosen_logratio, rejected_logratio = (log_prob(policy, *texts) - fixed).chunk(2)
        loss = -torch.nn.functional.logsigmoid(beta * (chosen_logratio - rejected_logratio)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def log_prob(model, tokenizer, prompts, responses):
    """log π(y|x) of each response and its EOS, [n], from padded rows and a full log-softmax."""
    texts = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    whole = [torch.tensor([*tokenizer(text).input_ids, tokenizer.eos_token_id]) for text in texts]
    begin = torch.tensor([len(tokenizer(prompt).input_ids) for prompt in prompts])
    length = torch.tensor([len(ids) for ids in whole])
    ids = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True)
    place = torch.arange(ids.shape[1])
    logits = model(ids, attention_mask=(place < length[:, None]).long()).logits[:, :-1]
    token = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    scored = (place[1:] >= begin[:, None]) & (place[1:] < length[:, None])
    return (token * scored).sum(1)
