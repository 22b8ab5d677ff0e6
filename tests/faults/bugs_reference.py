"""Bugs of the reference, and of settings that never arrive."""

from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np
from catching import adapter_world, by_check, by_run, by_test, dropout_world
from fault import Fault
from seams import around, instead, value

from logratio.logps.whole import by_group


def base_for_start(unplanted, loaded, choice):
    return unplanted(loaded, "base")


def adapters_own_modules_stay(unplanted, model):
    """Switch off the low-rank part alone."""
    from peft.tuners.lora import LoraLayer

    @contextmanager
    def off():
        layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        for layer in layers:
            layer.enable_adapters(False)
        yield
        for layer in layers:
            layer.enable_adapters(True)

    return off()


def reference_scored(change):
    """Plant a change of the log-probs that the reference pass computes."""
    return around(
        "logratio.logps.reference.score",
        lambda unplanted, *given, **named: [change(values) for values in unplanted(*given, **named)],
    )


def reference_ignored(unplanted, logps, batch):
    return unplanted(logps, batch.with_token(reference=logps.policy_R.detach()))


def held_out_against_the_policy(unplanted, self, done):
    """The reference's log-probs of held-out responses are the policy's own."""
    groups, logps = unplanted(self, done)
    own = iter(by_group(groups, logps)[0])
    return [group.with_columns(token={"reference": next(own)}) for group in groups], logps


def frozen_copy_shared(unplanted, model):
    unplanted(model)
    named = dict(model.named_parameters())
    for name, weight in named.items():
        if ".reference." in name:
            weight.data = named[name.replace(".reference.", ".default.")].data


def flip_rate_ignored(loss, **settings):
    return partial(loss, **{**settings, "flip_rate": 0.1})


def every_setting_acts(module):
    return next(check for check in module.CHECKS if check.__name__ == "every_setting_acts")


REFERENCE = (
    Fault(
        12,
        "the base serves as reference of a loaded adapter",
        around("logratio.models.adapters.reference_view", base_for_start),
        by_check("reference_at_start", world=adapter_world),
        "Policy and reference are the same weights and differ by",
    ),
    Fault(
        12,
        "modules saved beside the adapter stay active when it is off",
        around("logratio.models.adapters.adapter_off", adapters_own_modules_stay),
        by_test(
            "models/test_models_adapters",
            "test_a_loaded_adapters_reference_is_its_frozen_copy_and_base_on_request",
            fixtures=("base", "adapter"),
        ),
    ),
    Fault(
        12,
        "the adapter's frozen copy shares storage with the adapter in training",
        around("logratio.models.adapters.hold", frozen_copy_shared),
        by_check("reference_storage", world=adapter_world),
        "No learning signal",
    ),
    Fault(
        13,
        "precomputed log-probs are ignored, and the policy's own taken: 0.6931 for ever",
        around("logratio.objectives.views.responses", reference_ignored),
        by_run("loss_fell"),
        "The loss stays 0.693147 to the last digit",
    ),
    Fault(
        13,
        "held-out pairs are scored against the policy instead of the reference",
        around("logratio.train.validate.Validation._scored", held_out_against_the_policy),
        by_test("train/test_train_api", "test_step_0_is_the_reference_itself", fixtures=("model", "pairs", "finished")),
    ),
    Fault(
        13,
        "a setting is accepted and ignored",
        value("logratio.objectives.pairwise.partial", flip_rate_ignored),
        by_test("objectives/test_objectives_registry", "test_contract", "robust_dpo", every_setting_acts),
    ),
    Fault(
        14,
        "the reference is computed in fp16",
        reference_scored(lambda values: values.astype(np.float16).astype(np.float32)),
        by_check("reference_at_start"),
        "Policy and reference are the same weights and differ by",
    ),
    Fault(
        14,
        "the reference is computed at another temperature",
        reference_scored(lambda values: values / 1.1),
        by_check("reference_at_start"),
        "Policy and reference are the same weights and differ by",
    ),
    Fault(
        15,
        "a cache made by several processes is reduced by a maximum from zeros",
        reference_scored(lambda values: np.maximum(values, 0)),
        by_check("reference_at_start"),
        "Policy and reference are the same weights and differ by",
    ),
    Fault(
        16,
        "dropout is active",
        instead("logratio.models.dropout.switch_off_dropout", lambda model: {}),
        by_check("two_forwards", world=dropout_world, **{"train.path": "plain"}),
        "something in the model draws random numbers",
    ),
    Fault(
        16,
        "dropout of the adapter is accepted",
        instead("logratio.config.LoraConfig", lambda **given: SimpleNamespace(**given)),
        by_test("models/test_models_load", "test_adapter_dropout_is_refused_by_the_recipe"),
    ),
)
