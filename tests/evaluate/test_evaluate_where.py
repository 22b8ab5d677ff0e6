import json

import numpy as np
import pytest
import torch
from small_models import WORDS, made_run, nudged, pairs, save, slow_logp, word_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

from logratio.errors import LogratioError
from logratio.evaluate.places import LOCAL, SPREAD, participation
from logratio.evaluate.restore import NORMS, OUTSIDE, parts, weights
from logratio.evaluate.where import where
from worlds import tiny_llama

LAYERS, SIDES = 4, ("chosen", "rejected")


def model(layers=LAYERS):
    own = {"vocab_size": len(WORDS) + 4, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return tiny_llama(0, num_hidden_layers=layers, **own)


def moved(**sizes):
    """The model with normal noise on those weights of which a key is part of the name."""
    made, draw = model(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            for part, size in sizes.items():
                if part.replace("__", ".") in name:
                    weight += size * torch.randn(weight.shape, generator=draw)
    return made


def judged(start, trained, n=40):
    """Pairs judged as the trained model's margin has them, so that there is one to lose."""
    rows = []
    for row in pairs(n):
        logps = [[slow_logp(own, row["prompt"], row[side]).sum() for own in (trained, start)] for side in SIDES]
        sides = [after - before for after, before in logps]
        first, second = SIDES if sides[0] >= sides[1] else SIDES[::-1]
        rows.append({"prompt": row["prompt"], "chosen": row[first], "rejected": row[second]})
    return rows


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return save(model(), tmp_path_factory.mktemp("start"))


@pytest.fixture
def run_of(tmp_path, start):
    def make(trained):
        run = made_run(tmp_path / "run", start, save(trained, tmp_path / "trained"))
        return run, judged(model(), trained)

    return make


def test_a_change_planted_in_one_layer_is_located(run_of):
    run, rows = run_of(moved(layers__2__mlp__up_proj=0.2))
    change, cost = where(run, data=rows)
    assert "most layer 2's mlp.up_proj" in change.says and "local" in change.says
    assert change.figures["participating_layers"] == pytest.approx(1) and change.figures["layers"] == LAYERS
    up = change.drawing.x.index("mlp.up_proj")
    assert change.drawing.series["layer 2"][up] > 0.1
    rest = {(name, i): v for name, row in change.drawing.series.items() for i, v in enumerate(row)}
    others = [value for place, value in rest.items() if place != ("layer 2", up)]
    assert {value for value in others if value is not None} == {0.0}
    assert "layer 2" in cost.says and "100%" in cost.says and "local" in cost.says
    assert cost.figures["largest_cost_share"] == 1 and cost.figures["left_when_all_restored"] == 0
    assert cost.drawing.x == ["mlp", "whole layer"] and list(cost.drawing.series) == ["layer 2"]
    document = json.loads((run / "where.json").read_text())
    assert document["findings"] == [change.as_json(), cost.as_json()]
    assert document["costs"]["layers"]["layer 2"]["mean"] == document["margin"]["mean"] > 0


def test_a_change_everywhere_is_spread_and_nothing_is_left_when_all_is_put_back(run_of):
    run, rows = run_of(nudged(model(), 0.03))
    change, cost = where(run, data=rows)
    assert "spread" in change.says and change.figures["participating_layers"] > SPREAD * LAYERS
    assert cost.figures["left_when_all_restored"] == 0  # exactly: the same weights, bins and path as the reference's
    assert set(cost.drawing.series) == {OUTSIDE, *(f"layer {i}" for i in range(LAYERS))}
    assert set(cost.drawing.x) == {"self_attn", "mlp", NORMS, "embed_tokens", "norm", "whole layer"}
    costs = json.loads((run / "where.json").read_text())["costs"]
    assert all(own["low"] < own["mean"] < own["high"] for own in costs["layers"].values())
    blocks = {block["mean"] for own in costs["blocks"].values() for block in own.values()}
    assert len(blocks) == 3 * LAYERS + 2  # each was put back by itself


def test_the_layer_that_matters_more_costs_more(run_of):
    run, rows = run_of(moved(layers__1__=0.01, layers__3__=0.1))
    _, cost = where(run, data=rows)
    costs = json.loads((run / "where.json").read_text())["costs"]["layers"]
    assert costs["layer 3"]["mean"] > costs["layer 1"]["mean"] and "most in layer 3" in cost.says


def test_relative_change_is_the_ratio_of_frobenius_norms(run_of):
    trained = model()
    with torch.no_grad():
        trained.model.layers[1].self_attn.q_proj.weight *= 1.1
        trained.model.layers[0].input_layernorm.weight *= 0.5
    run, rows = run_of(trained)
    change, _ = where(run, data=rows)
    by_name = {layer: dict(zip(change.drawing.x, row, strict=True)) for layer, row in change.drawing.series.items()}
    assert by_name["layer 1"]["self_attn.q_proj"] == pytest.approx(0.1, rel=1e-5)
    assert by_name["layer 0"]["input_layernorm"] == pytest.approx(0.5, rel=1e-5)


def test_the_pairs_that_a_run_kept_give_what_the_same_rows_give(run_of):
    run, rows = run_of(moved(layers__2__mlp=0.1))
    given = [finding.as_json() for finding in where(run, data=rows)]
    tokenizer = word_tokenizer()
    lines = []
    for i, row in enumerate(rows):
        ids = {side: tokenizer(text, add_special_tokens=False).input_ids for side, text in row.items()}
        ids["chosen"].append(2)
        ids["rejected"].append(2)
        lengths = {f"length_{side}": len(ids[side]) for side in ("chosen", "rejected")}
        lines.append(json.dumps({"row": i, **lengths, "ids": ids}))
    (run / "pairs.jsonl").write_text("\n".join(lines))
    kept = [finding.as_json() for finding in where(run)]
    for own in (*given, *kept):
        own.pop("seconds")
    assert kept == given
    fewer = where(run, pairs=7)[1]
    assert fewer.figures["pairs"] == 7


def test_an_unmoved_model_has_no_margin_to_locate(run_of):
    run, rows = run_of(model())
    change, cost = where(run, data=rows)
    assert change.level == cost.level == "note" and "No weight" in change.says and "no part" in cost.says


def test_what_cannot_be_located_is_said(run_of, tmp_path, start):
    run, rows = run_of(moved(layers__2__mlp=0.1))
    with pytest.raises(LogratioError, match=r"pairs\.jsonl"):
        where(run)
    ids = {"prompt": [5], "chosen": [6, 2], "rejected": [7, 2]}
    row = {"row": 0, "length_chosen": 2, "length_rejected": 1, "ids": ids}
    (run / "pairs.jsonl").write_text(json.dumps(row))
    with pytest.raises(LogratioError, match="only some tokens"):
        where(run)
    with pytest.raises(LogratioError, match=r"config\.yaml"):
        where(start, data=rows)
    wider = save(model(layers=2), tmp_path / "wider")
    again = save(moved(layers__2__mlp=0.1), tmp_path / "again")
    other = made_run(tmp_path / "other", start, again, reference=str(wider))
    with pytest.raises(LogratioError, match="same architecture"):
        where(other, data=rows)


def test_names_of_weights_tell_layer_block_and_module():
    sizes = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 8, "vocab_size": 10}
    gpt2 = {part.name: part for part in parts(weights(GPT2LMHeadModel(GPT2Config(**sizes))))}
    first = gpt2["transformer.h.1.attn.c_attn.bias"]
    assert (first.layer, first.block, first.module) == ("layer 1", "attn", "attn.c_attn")
    assert gpt2["transformer.h.0.ln_1.weight"].block == NORMS
    assert gpt2["transformer.wte.weight"].layer == OUTSIDE and "lm_head.weight" not in gpt2  # tied
    config = MixtralConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
        vocab_size=10,
    )
    mixtral = parts(weights(MixtralForCausalLM(config)))
    assert not any(piece.isdigit() for part in mixtral for piece in part.module.split("."))
    assert {part.layer for part in mixtral} == {"layer 0", OUTSIDE}


def test_participation_counts_what_takes_part():
    assert participation([3.0]) == 1 and participation([2.0] * 5) == pytest.approx(5)
    assert participation([1.0, 0.0, 0.0]) == 1 and participation([]) == 0
    assert 1 < participation([9.0, 1.0]) < 2 and LOCAL < SPREAD
    assert np.isfinite(participation([1e-200, 1e-200]))
