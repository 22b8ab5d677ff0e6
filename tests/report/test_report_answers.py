"""The three answers at the top: nothing is claimed that was not measured, nothing found is passed over."""

import pytest

from logratio.findings import Finding, Past
from logratio.report.answers import answers, cost, trust
from logratio.report.beside import Beside
from logratio.report.kit import Interval, Notice
from logratio.report.summary import Measured, verdict


def share(mean, half=0.02):
    return Interval(mean, mean - half, mean + half, 200, share=True)


def measured(before, after, **what):
    return Measured(before, after, "final policy", **what)


def found(*levels):
    return tuple(Finding(f"{level}_{i}", level, "s") for i, level in enumerate(levels))


FORM = {"accuracy": share(0.6), "ended": share(0.9), "repetition": share(0.08)}


@pytest.mark.parametrize(
    ("before", "after", "answer", "said"),
    [
        (FORM, FORM, "No side effect seen", "KL) was not measured"),
        (
            FORM,
            {**FORM, "repetition": share(0.3)},
            "Side effects",
            "Repeated 4-grams in samples rose from 8.0\u202f% to 30",
        ),
        (FORM, {**FORM, "ended": share(0.4)}, "Side effects", "ended by themselves fell from 90.0\u202f% to 40.0"),
        (FORM, {**FORM, "ended": share(1.0)}, "No side effect seen", ""),
        (FORM, {**FORM, "repetition": share(0.10)}, "No side effect seen", ""),
        ({}, FORM, "Not known", "Whether other abilities were kept was not measured"),
        ({}, {}, "Not known", "Whether other abilities were kept was not measured"),
        (
            FORM,
            {**FORM, "retain_after": Interval(2.5, 2.4, 2.6), "retain_change": Interval(0.2, 0.1, 0.3)},
            "Side effects",
            "The loss on retained texts rose to 2.50 nats a token.",
        ),
        (
            FORM,
            {**FORM, "retain_after": Interval(2.5, 2.4, 2.6), "retain_change": Interval(0.0, -0.1, 0.1)},
            "No side effect seen",
            "not shown to have risen",
        ),
        (FORM, {**FORM, "kl": Interval(7.0, 6.5, 7.5, 128)}, "No side effect seen", "7.00 nats a response"),
        (FORM, {**FORM, "kl_per_token": Interval(0.1, 0.0, 0.2)}, "No side effect seen", ""),
        (FORM, {**FORM, "kl_per_token": Interval(4.0, 3.0, 5.0)}, "Side effects", "55 times less likely"),
        (
            {**FORM, "entropy_per_token": Interval(1.66, 1.6, 1.7)},
            {**FORM, "entropy_per_token": Interval(4.24, 4.1, 4.4)},
            "Side effects",
            "they fall apart",
        ),
        (  # by less than 1 nat a token: it was all but certain, as the diagnosis says too
            {**FORM, "entropy_per_token": Interval(0.3, 0.29, 0.31)},
            {**FORM, "entropy_per_token": Interval(0.9, 0.89, 0.91)},
            "No side effect seen",
            "",
        ),
    ],
)
def test_the_cost_names_what_got_worse_beyond_chance_and_what_was_not_measured(before, after, answer, said):
    told = cost(measured(before, after))
    assert told.answer == answer and said in told.because
    assert (told.tone == "good") == (answer == "No side effect seen")


def test_a_reward_model_has_no_samples_to_get_worse():
    assert "writes no text" in cost(measured({}, {"accuracy": share(0.6)}, generates=False)).because


@pytest.mark.parametrize(
    ("beside", "tone", "said"),
    [
        (Beside(), "warn", "Not there: preflight, audit or diagnosis."),
        (
            Beside(preflight=found("fine", "note")),
            "plain",
            "Preflight: 1 note, 1 pass. Not there: audit of the data, diagnosis.",
        ),
        (Beside(preflight=(), audited=(), findings=found("fine")), "good", "Preflight: nothing."),
        (Beside(findings=found("fine", "look", "note")), "warn", "To look at first: look 1."),
        (Beside(preflight=found("stop"), findings=found("look")), "bad", "To look at first: stop 0."),
    ],
)
def test_trust_is_what_the_gravest_finding_says(beside, tone, said):
    told = trust(beside, [])
    assert told.tone == tone and said in told.because


def test_a_run_that_broke_is_not_trusted_whatever_was_found():
    assert trust(Beside(findings=found("fine")), [Notice("bad", "not finite")]).tone == "bad"
    whole = Beside(preflight=found("fine"), audited=found("fine"), findings=found("note"))
    assert trust(whole, [Notice("warn", "absent")]).tone == "good"


def test_the_first_answer_is_the_verdict():
    before, after = {"accuracy": share(0.5)}, {"accuracy": share(0.65), "length_baseline": share(0.63)}
    short = [answers(verdict(own), own, Beside(), []).answers[0].answer for own in (measured(before, after),)]
    assert short == ["Perhaps by length alone"]
    for mean, said in ((0.65, "Yes"), (0.51, "Not shown"), (0.4, "No, it got worse")):
        own = measured(before, {"accuracy": share(mean), "length_baseline": share(0.3)})
        assert answers(verdict(own), own, Beside(), []).answers[0].answer == said


def test_what_preflight_found_of_the_data_in_brief_stands_for_an_audit():
    brief = tuple(Finding(name, "fine", "s") for name in ("loss_mask", "audit_length", "audit_encoding"))
    told = trust(Beside(preflight=brief, findings=found("note")), [])
    assert told.answer == "Nothing speaks against it"
    assert told.because == "Preflight: 1 pass. Audit of the data: 2 fine. Diagnosis: 1 note."
    whole = trust(Beside(preflight=brief, audited=found("note"), findings=()), [])
    assert "Preflight: 3 pass. Audit of the data: 1 note." in whole.because


def test_checks_that_were_left_out_are_told_and_nothing_is_said_to_be_all_right():
    """An audit that preflight left out counts no more once the data was audited."""
    budget = Finding("budget", "note", "s", figures={"skipped": "micro_batches, audit"})
    told = trust(Beside(preflight=(*found("fine"), budget), audited=found("fine"), findings=()), [])
    assert told.tone == "plain" and told.answer == "Nothing found, but not all looked at"
    assert told.because.endswith("Left out by preflight: micro batches.")
    nothing = Finding("budget", "note", "s", figures={"skipped": "audit"})
    assert trust(Beside(preflight=(nothing,), audited=found("fine"), findings=()), []).tone == "good"


def test_a_run_that_was_sick_in_the_middle_is_told_of():
    sick = Finding("collapse", "fine", "s", past=Past("stop", 20, "Samples repeat."))
    told = trust(Beside(preflight=found("fine"), audited=found("fine"), findings=(sick,)), [])
    assert told.because.endswith("Graver in the course of the run than at its end: collapse (stop at step 20).")
