"""Each family on runs written down by hand: what it says, at which level, and what must not move it."""

from dataclasses import replace

import pytest
from histories import SOUND, START, TRAIN, share, told, value

from logratio import objectives
from logratio.diagnose import limits
from logratio.diagnose.calibration import calibration
from logratio.diagnose.collapse import collapse
from logratio.diagnose.displacement import displacement
from logratio.diagnose.drift import drift
from logratio.diagnose.fitting import label_noise, overfitting, saturation
from logratio.diagnose.growth import overoptimisation
from logratio.diagnose.history import About
from logratio.diagnose.length import length
from logratio.diagnose.pace import beta, learning_rate
from logratio.diagnose.run import FAMILIES, diagnose
from logratio.diagnose.signal import reversed_labels, signal

WORSE = {**SOUND, "accuracy": share(0.55)}
"""Accuracy has fallen since an evaluation that was sound."""


def test_a_sound_run_has_a_finding_a_family_and_all_are_fine():
    found = diagnose(told(START, SOUND, SOUND))
    assert len(found) == len(FAMILIES) - 1  # one pass says nothing of label noise
    assert {finding.level for finding in found} == {"fine"}
    assert all(finding.says.endswith(".") and not finding.remedy for finding in found)


def test_nothing_is_said_before_the_first_step():
    assert diagnose(told(START)) == [] and diagnose(told()) == []


MECHANISMS = {
    displacement: {"logratio_chosen_per_token": value(-0.2, 0.02), "logratio_rejected_per_token": value(-0.5, 0.02)},
    drift: {"logp_chosen_per_token": value(-2.3, 0.02), "logp_rejected_per_token": value(-2.5, 0.02)},
    saturation: {},
}


@pytest.mark.parametrize("family", MECHANISMS)
def test_displacement_drift_and_saturation_rise_above_note_only_with_an_outcome(family):
    train = {**TRAIN, "saturated": 0.7} if family is saturation else TRAIN
    mild = family(told(START, SOUND, {**SOUND, **MECHANISMS[family]}, train=train))
    assert mild.level == "note" and "normal in DPO" in mild.says and not mild.remedy
    grave = family(told(START, SOUND, {**WORSE, **MECHANISMS[family]}, train=train))
    assert grave.level == "look" and grave.remedy and "accuracy fell from 66 % (step 10) to 55 %" in grave.says
    assert family(told(START, SOUND, WORSE)).level == "fine"  # an outcome alone is not the mechanism
    bare = {name: row for name, row in {**SOUND, **MECHANISMS[family]}.items() if name not in JUDGED}
    start = {name: row for name, row in START.items() if name not in JUDGED}
    assert "no outcome was measured" in family(told(start, bare, train=train)).says


JUDGED = ("accuracy", "ended", "repetition")


@pytest.mark.parametrize(
    "outcome",
    [
        {"accuracy": share(0.4)},
        {"ended": share(0.3, 64)},
        {"repetition": share(0.4, 64)},
        {"retain_change": value(0.3, 0.05)},
        {"reward": value(0.1, 0.05)},
        {"entropy_per_token": value(3.0, 0.05, 64)},
    ],
    ids=lambda outcome: next(iter(outcome)),
)
def test_each_outcome_of_the_list_counts(outcome):
    start = {**START, "reward": value(1.0, 0.05)}
    last = {**SOUND, "reward": value(1.0, 0.05), **MECHANISMS[displacement], **outcome}
    assert displacement(told(start, last)).level == "look"
    assert displacement(
        told(start, {**last, next(iter(outcome)): {**start, **SOUND}.get(next(iter(outcome)))})
    ).level == ("note")


def test_nothing_is_called_sound_by_what_could_not_have_shown_it():
    """Twelve held-out pairs, and samples that never ended within their limit: no ground for a verdict."""
    few = {"accuracy": share(0.5, 12), "ended": share(0.0, 8), "repetition": share(0.03, 8)}
    lost = {"logp_chosen_per_token": value(-4.0, 0.1), "logp_rejected_per_token": value(-4.2, 0.1)}
    grave = drift(told({**START, **few}, {**SOUND, **few, **lost}))
    assert grave.level == "look" and "no outcome was measured" in grave.says
    mild = drift(told({**START, **few}, {**SOUND, **few, **MECHANISMS[drift]}))
    assert mild.level == "note" and "sound" not in mild.says
    assert "none ended by itself, then or now" in collapse(told({**START, **few}, {**SOUND, **few})).says


def test_memorising_is_seen_with_few_pairs_held_out():
    few = {"accuracy": share(0.5, 12), "loss": value(2.4, 0.9, 12)}
    found = overfitting(told(START, {**SOUND, **few}, train={**TRAIN, "accuracy": 1.0}))
    assert found.level == "look" and "246 % above" in found.says
    assert overfitting(told(START, {**SOUND, **few}, train={**TRAIN, "accuracy": 0.66})).level == "fine"


def test_kto_has_displacement_per_response():
    rows = ({"loss": value(0.5)}, {"logratio_desirable": value(-3.0, 0.5), "logratio_undesirable": value(-6.0, 0.5)})
    found = displacement(told(*rows))
    assert found.level == "note" and found.says.startswith("Desirable responses") and "undesirable ones" in found.says
    assert set(found.drawing.series) == {"desirable", "undesirable"}
    assert not {"chosen", "rejected", "margin", "DPO"} & set(found.says.replace(",", " ").split())
    bad = displacement(told({**rows[0], "ended": share(0.95, 64)}, {**rows[1], "ended": share(0.3, 64)}))
    assert bad.level == "look" and "sft_weight" not in bad.remedy  # which such objectives do not have


def test_saturated_pairs_are_called_what_they_are():
    assert "of training pairs" in saturation(told(START, SOUND)).says
    bare = {name: row for name, row in TRAIN.items() if name != "saturated"}
    assert "of held-out pairs" in saturation(told(START, SOUND, train=bare)).says


def test_data_that_the_model_would_not_write_is_seen_before_the_first_step():
    start = {**START, "logp_chosen_per_token": value(-4.0, 0.02), "logp_rejected_per_token": value(-4.1, 0.02)}
    found = drift(told(start, {**SOUND, "logp_chosen_per_token": value(-3.9, 0.02)}))
    assert found.level == "note" and "2.5 nat/token less probable" in found.says


@pytest.mark.parametrize(
    ("what", "level", "said"),
    [
        ({"repetition": share(0.2, 64)}, "look", "20 % of 4-grams"),
        ({"repetition": share(0.6, 64)}, "stop", "60 % of 4-grams"),
        ({"ended": share(0.6, 64)}, "look", "60 % of samples end"),
        ({"ended": share(0.1, 64)}, "stop", "10 % of samples end"),
        ({"entropy_per_token": value(3.0, 0.05, 64)}, "look", "fall apart: 3"),
        ({"entropy_per_token": value(4.2, 0.05, 64)}, "stop", "fall apart: 4.2 nat/token"),
        ({"self_overlap": value(0.5)}, "look", "share 50 %"),
        ({"self_overlap": value(0.9)}, "stop", "share 90 %"),
        ({"entropy_per_token": value(0.4, 0.05, 64)}, "look", "0.4 nat/token of entropy left"),
        ({"entropy_per_token": value(0.1, 0.05, 64)}, "stop", "0.1 nat/token of entropy left"),
        ({"sample_length": value(4.0, 1.0, 64)}, "look", "samples have 4 tokens"),
        ({"sample_length": value(1.5, 0.2, 64)}, "stop", "samples have 1.5 tokens"),
    ],
)
def test_collapse(what, level, said):
    found = collapse(told(START, SOUND, {**SOUND, **what}))
    assert found.level == level and said.lower() in found.says.lower() and found.remedy


def test_eight_samples_of_which_two_no_longer_end_are_no_collapse():
    few = [{**row, "ended": share(mean, 8)} for row, mean in ((START, 1.0), (SOUND, 0.75))]
    assert collapse(told(*few)).level == "fine"


def test_memorised_pairs_are_a_note_until_held_out_ones_suffer():
    train = {**TRAIN, "accuracy": 0.98}
    assert overfitting(told(START, SOUND, SOUND, train=train)).level == "note"
    found = overfitting(told(START, SOUND, {**SOUND, "loss": value(0.9, 0.05)}, train=train))
    assert found.level == "look" and "30 % above that of step 0" in found.says
    assert overfitting(told(START, SOUND, WORSE, train=train)).level == "look"


def test_label_noise_is_a_first_pass_that_nothing_predicted_and_a_last_one_by_heart():
    about = About(beta=0.1, steps=40, epochs=4)

    def seen(first, last, held):
        trained = [{**TRAIN, "accuracy": accuracy} for accuracy in (first, 0.6, 0.7, last)]
        return label_noise(told(START, *[{**SOUND, "accuracy": share(held)}] * 4, train=trained, about=about))

    assert seen(0.55, 0.95, 0.54).level == "look"
    assert seen(0.55, 0.95, 0.75).level == "fine"  # held-out pairs followed: it was learned
    assert seen(0.75, 0.95, 0.74).level == "fine"  # labels were predictable: overfitting at most
    assert seen(0.55, 0.6, 0.54).level == "fine"
    assert label_noise(told(START, SOUND, train=TRAIN)) is None


def test_overoptimisation_needs_a_margin_that_grew_since_the_best_outcome():
    grown = {**WORSE, "margin": value(2.0, 0.1)}
    found = overoptimisation(told(START, SOUND, grown))
    assert found.level == "look" and "Since step 10" in found.says
    assert overoptimisation(told(START, SOUND, {**WORSE, "margin": value(0.3, 0.1)})).level == "fine"
    assert overoptimisation(told(START, SOUND, {**SOUND, "margin": value(2.0, 0.1)})).level == "fine"
    judged = [{**row, "reward": value(r, 0.02)} for row, r in ((START, 0.0), (SOUND, 1.0), (SOUND, 0.5))]
    judged[2]["margin"] = value(2.0, 0.1)
    assert "reward fell from 1 to 0.5" in overoptimisation(told(*judged)).says


def test_length_is_a_matter_for_a_look_only_where_samples_follow():
    by_length = {**SOUND, "length_correlation": value(0.85, 0.03)}
    assert length(told(START, by_length)).level == "note"
    longer = {**by_length, "sample_length": value(32.0, 1.5, 64)}
    assert length(told(START, longer)).level == "look" and "60 % longer" in length(told(START, longer)).says
    shorter = {**by_length, "sample_length": value(7.0, 0.5, 64)}
    assert length(told(START, shorter)).level == "note"  # against the correlation's direction
    assert length(told(START, {**shorter, "length_correlation": value(-0.85, 0.03)})).level == "look"
    usual = {**SOUND, "length_correlation": value(-0.6, 0.05), "sample_length": value(14.0, 1.0, 64)}
    assert length(told(START, usual)).level == "fine"  # as in sound runs of the built-in world
    assert length(told(START, {**SOUND, "sample_length": value(32.0, 1.5, 64)})).level == "fine"


def test_confidence_beyond_accuracy():
    assert calibration(told(START, {**SOUND, "overconfidence": value(0.14, 0.03)})).level == "note"
    found = calibration(told(START, {**SOUND, "confidence": share(0.8), "overconfidence": value(0.25, 0.03)}))
    assert found.level == "look" and "66 % of held-out pairs" in found.says and "claim 25 % more" in found.says
    under = calibration(told(START, {**SOUND, "overconfidence": value(-0.25, 0.03)}))
    assert under.level == "fine" and "claim 25 % less" in under.says
    unsure = {**SOUND, "overconfidence": value(0.25, 0.3)}
    assert calibration(told(START, unsure)).level == "fine"


def test_a_loss_that_implies_no_probability_is_not_judged_by_its_margins():
    bare = {name: row for name, row in SOUND.items() if name != "overconfidence"}
    assert calibration(told(START, {**bare, "confidence": share(0.99)})) is None


def test_a_rate_at_which_nothing_moves():
    still = {**START, "loss": value(0.6925, 0.001), "accuracy": share(0.52)}
    found = learning_rate(told(START, still))
    assert found.level == "look" and "too short" in found.says and "1e-06" in found.says
    assert learning_rate(told(START, still, about=About(steps=100, beta=0.1))).level == "fine"  # it may be warming up
    told_apart = {**still, "margin_quantiles": SOUND["margin_quantiles"]}
    assert learning_rate(told(START, told_apart)).level == "fine"  # labels by coin move the policy and not the loss


def test_a_rate_that_overshoots_in_the_first_pass():
    wild = {**SOUND, "loss": value(1.2, 0.05)}
    rough = {**TRAIN, "loss": 0.9}
    assert learning_rate(told(START, wild, SOUND, train=rough)).level == "look"  # it was, even if it recovered
    again = {**TRAIN, "loss": 0.3}
    assert learning_rate(told(START, wild, SOUND, train=again)).level == "fine"  # training loss fell: pairs came again
    near = {**wild, "kl_data": value(0.001)}
    assert learning_rate(told(START, near, SOUND, train=rough)).level == "fine"  # it is β that makes the loss large
    assert learning_rate(told(START, SOUND, SOUND, wild, train=rough, about=About(steps=30, epochs=2))).level == "fine"


def test_beta_too_large_and_too_small():
    tight = {**SOUND, "margin_quantiles": {"p05": -2.0, "p95": 2.5}}
    found = beta(told(START, tight, about=About(beta=10.0, scale=10.0, steps=10, near="objective.beta")))
    assert found.level == "look" and "Lower objective.beta" in found.remedy
    loose = {**SOUND, "effective_gradient": share(0.49), "margin_quantiles": {"p05": -0.02, "p95": 0.03}}
    found = beta(told(START, loose, about=About(beta=1e-3, scale=1e-3, steps=10, near="objective.beta")))
    assert found.level == "look" and "Raise objective.beta" in found.remedy
    assert beta(told(START, SOUND)).level == "fine"
    assert beta(told(START, SOUND, about=About(steps=10))) is None


def test_a_loss_that_beta_alone_makes_large_is_no_overshooting():
    """Margins of ±30 at β 10 are ±0.3 at the default of 0.1, where no loss would have risen; ±300 are not."""
    quantiles = {"p05": -30.0, "p25": -10.0, "p50": 2.0, "p75": 12.0, "p95": 32.0}
    wild = {**SOUND, "loss": value(5.0, 0.2), "margin_quantiles": quantiles}
    large, rough = About(beta=10.0, scale=10.0, steps=10, near="objective.beta"), {**TRAIN, "loss": 4.0}
    found = beta(told(START, wild, train=rough, about=large))
    assert found.level == "look" and "with 0.1 it would not have risen" in found.says
    assert learning_rate(told(START, wild, train=rough, about=large)).level == "fine"
    far = {**wild, "margin_quantiles": {name: 10 * nats for name, nats in quantiles.items()}}
    assert beta(told(START, far, train=rough, about=large)).level == "fine"
    assert learning_rate(told(START, far, train=rough, about=large)).level == "look"
    square, quieter = replace(large, objective="ipo", near="objective.tau"), {k: q / 3 for k, q in quantiles.items()}
    found = beta(told(START, {**wild, "margin_quantiles": quieter}, train=rough, about=square))
    assert found.level == "look" and "Lower objective.tau" in found.remedy


def test_the_square_of_ipo_grows_with_the_variance_of_margins_and_that_is_no_overshooting():
    """Mean 0 and ±0.6 nat about it: (1 − 2m)² is 1.6 times that at the reference, −log σ(m) 1.05 times."""
    quantiles = {"p05": -0.6, "p25": -0.25, "p50": 0.0, "p75": 0.25, "p95": 0.6}
    about, rough = About(objective="ipo", beta=0.1, scale=0.1, steps=10, near="objective.tau"), {**TRAIN, "loss": 4.0}
    wide = {**SOUND, "loss": value(1.1, 0.02), "margin_quantiles": quantiles}
    assert learning_rate(told(START, wide, train=rough, about=about)).level == "fine"
    far = {**wide, "margin_quantiles": {name: 10 * nats for name, nats in quantiles.items()}}
    assert learning_rate(told(START, far, train=rough, about=about)).level == "look"


def test_of_a_beta_in_another_unit_nothing_is_said():
    """`dpo_norm` with its default β of 5 per token: a spread of margins of 2 is what it should have."""
    about = About.of({"objective": {"name": "dpo_norm", "beta": 5.0}}, 10)
    wide = {**SOUND, "margin_quantiles": {"p05": -1.0, "p95": 1.0}}
    assert about.scale is None and beta(told(START, wide, about=about)) is None
    still = {**START, "loss": value(0.6925, 0.001), "margin_quantiles": wide["margin_quantiles"]}
    assert learning_rate(told(START, still, about=about)).level == "fine"


@pytest.mark.parametrize(
    ("objective", "scale"),
    [
        ({"name": "dpo", "beta": 0.3, "divergence": "reverse_kl"}, 0.3),
        ({"name": "dpo", "beta": 0.3, "divergence": "js"}, None),
        ({"name": "ipo", "tau": 0.2}, 0.2),
        ({"name": "ipo_mean", "tau": 0.2}, None),
        ({"name": "chi_po", "beta": 0.1}, None),
        ({"name": "orpo", "weight": 0.1}, 1.0),
    ],
)
def test_what_the_margin_is_per_nat_of_summed_log_ratios(objective, scale):
    assert About.of({"objective": objective}, 10).scale == scale


@pytest.mark.parametrize(("name", "usual"), limits.BETAS.items())
def test_the_usual_beta_is_the_objectives_default(name, usual):
    assert About.of({"objective": {"name": name, **objectives.load(name).settings().model_dump()}}, 10).scale == usual


def test_no_signal():
    coin = {**SOUND, "accuracy": share(0.51), "loss": value(0.7, 0.01)}
    assert signal(told(START, coin)).level == "look"
    assert signal(told(START, {**coin, "loss": value(0.68, 0.01)})).level == "fine"  # something is learned
    assert signal(told(START, {**START, "accuracy": share(0.51)})).level == "fine"  # it has not moved: not the labels
    assert signal(told(START, coin, about=About(steps=100, beta=0.1))).level == "fine"
    assert signal(told(START, {**coin, "accuracy": share(0.51, 60)})).level == "fine"  # too few to call it chance
    stuck = signal(told(START, START, train={**TRAIN, "grad_norm": 0.0}))
    assert stuck.level == "stop" and "exactly 0 in all 10 steps" in stuck.says


def test_reversed_labels():
    assert reversed_labels(told(START, {**SOUND, "accuracy": share(0.35), "loss": value(0.75, 0.01)})).level == "look"
    assert reversed_labels(told(START, {**SOUND, "accuracy": share(0.46), "loss": value(0.75, 0.01)})).level == "fine"
    unlucky = {**SOUND, "accuracy": share(0.4), "loss": value(0.705, 0.01)}  # labels by coin
    assert reversed_labels(told(START, unlucky)).level == "fine" and signal(told(START, unlucky)).level == "look"


def test_every_finding_of_a_look_has_figures_and_a_drawing_and_goes_through_json():
    from logratio.findings import finding

    bad = {
        **WORSE,
        **MECHANISMS[displacement],
        "ended": share(0.1, 64),
        "overconfidence": value(0.3, 0.03),
        "loss": value(1.5),
    }
    found = diagnose(told(START, SOUND, bad))
    grave = [own for own in found if own.level in ("look", "stop")]
    assert [own.name for own in found][0] == "collapse" and len(grave) >= 4
    for own in grave:
        assert own.figures and own.drawing is not None and own.remedy
        assert {len(line) for line in own.drawing.series.values()} == {len(own.drawing.x)}
        assert finding(own.as_json()).says == own.says


def test_every_limit_has_its_reason():
    import ast
    import inspect

    body = ast.parse(inspect.getsource(limits)).body
    for at, node in enumerate(body):
        if isinstance(node, ast.Assign):
            after = body[at + 1]
            assert isinstance(after, ast.Expr) and len(after.value.value) > 20, ast.unparse(node)
