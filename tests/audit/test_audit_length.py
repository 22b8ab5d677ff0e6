"""Who wins when longer: found when planted, silent when not."""

import numpy as np
import pytest
from judged_pairs import coin, columns, longer, pairs, sentence

from logratio.audit.cued import cued
from logratio.audit.length import auc, length
from logratio.audit.rows import read_rows


def found(rows):
    data = columns(rows)
    return length(data, cued(data))


@pytest.mark.parametrize(("share", "side"), [(0.7, "longer"), (0.3, "shorter")])
def test_a_planted_confound_is_found_with_its_size(share, side):
    finding = found(pairs(1, 1_000, longer(share)))
    assert finding.level == "look" and finding.remedy and side in finding.says
    low, high = finding.figures["longer_wins_share_low"], finding.figures["longer_wins_share_high"]
    assert low - 0.005 < share < high + 0.005 and high - low < 0.06
    assert finding.figures["length_alone_accuracy"] == pytest.approx(0.7, abs=0.04)


def test_without_a_confound_nothing_is_flagged():
    alarms = [found(pairs(seed, 400, coin, per_prompt=2)).level == "look" for seed in range(20)]
    assert sum(alarms) <= 1


def test_a_rule_that_turns_with_the_ratio_is_found_though_both_win_equally_often():
    """A little longer wins, much longer loses."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(1_200):
        short, long = sentence(rng, 10, 11), sentence(rng, 12, 13) if number % 2 else sentence(rng, 40, 41)
        chosen, rejected = (long, short) if number % 2 else (short, long)
        rows.append({"prompt": f"q{number}", "chosen": chosen, "rejected": rejected})
    finding = found(rows)
    assert finding.figures["longer_wins_share"] == pytest.approx(0.5, abs=0.02)
    assert finding.figures["length_alone_accuracy"] > 0.95 and finding.level == "look"
    shares = finding.drawing.series["longer wins"]
    assert max(s for s in shares if s is not None) > 0.95 and min(s for s in shares if s is not None) < 0.05


@pytest.mark.parametrize(("long", "short"), [("很好" * 9, "好。"), ("نعم " * 9, "نعم"), ("🙂" * 9, "🙂")])
def test_it_counts_what_a_reader_sees(long, short):
    rows = [{"prompt": f"q{n}", "chosen": long + "!" * n, "rejected": short + "!" * n} for n in range(60)]
    finding = found(rows)
    assert finding.figures["longer_wins_share"] == 1
    seen = {"很": 16, "ن": 33, "🙂": 8}[long[0]]
    assert finding.figures["gap_median_characters"] == seen or long[0] == "ن"


def test_repeated_prompts_count_once():
    """Ten prompts, in eight the longer one always wins: that is ten observations, not 600."""
    sides = [longer(1.0), longer(1.0), longer(0.0), longer(1.0), longer(1.0)]
    few = [{**row, "prompt": f"q{n}"} for n in range(10) for row in pairs(n, 60, sides[n % 5])]
    many = [{**row, "prompt": f"q{n}"} for n, row in enumerate(few)]
    clustered, single = found(few), found(many)
    assert single.level == "look" and single.figures["longer_wins_share_low"] > 0.75
    assert clustered.level != "look" and clustered.figures["longer_wins_share_low"] < 0.55


def test_code_points_do_without_cues():
    data = columns(pairs(4, 300, longer(0.8)))
    quick, whole = length(data), length(data, cued(data))
    assert quick.figures["longer_wins_share"] == whole.figures["longer_wins_share"]
    assert quick.as_json()["drawing"]["kind"] == "lines"


def test_single_judgements_compare_every_good_with_every_bad():
    rng = np.random.default_rng(8)
    rows = [
        {"prompt": f"q{n}", "completion": sentence(rng, 10 + 10 * good, 30 + 10 * good), "label": bool(good)}
        for n, good in enumerate(rng.integers(0, 2, 200))
    ]
    finding = found(rows)
    size = {good: [len(row["completion"]) for row in rows if row["label"] is good] for good in (True, False)}
    wins = np.mean([(one > other) + (one == other) / 2 for one in size[True] for other in size[False]])
    assert finding.figures["good_longer_share"] == pytest.approx(wins) and finding.level == "look"
    assert finding.figures["good_longer_share_low"] < wins < finding.figures["good_longer_share_high"]


def test_the_interval_of_all_pairs_holds_the_truth():
    """Normal lengths one standard deviation apart: Φ(1/√2) = 0.7602."""
    held = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        measure = auc(rng.normal(1, 1, 60), rng.normal(0, 1, 90))
        held.append(measure.low <= 0.7602 <= measure.high)
    assert np.mean(held) > 0.9


def test_few_pairs_are_not_judged():
    finding = found(pairs(5, 20, longer(1.0)))
    assert finding.level == "fine" and "too few" in finding.says


def test_of_one_prompt_nothing_is_said_of_others():
    rows = read_rows([{"prompt": "p", "chosen": "word " * (n + 9), "rejected": f"{n}"} for n in range(120)])
    found = length(rows)
    assert found.level == "note" and "all share one prompt" in found.says
    assert not any(name.startswith("length_alone") for name in found.figures)
