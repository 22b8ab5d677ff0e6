"""`python -m bench VERB`: one module a verb, each with `main(arguments) -> exit code`."""

import sys
from importlib import import_module

VERBS = {
    "vs-trl": ("vs_trl", "DPO training against TRL's trainer: same weights, tokens and batches, in turn"),
    "profile": ("breakdown", "where the time of one of our runs goes, part by part"),
    "steps": ("steps", "each step of one of our runs against the matrix peak of the same seconds"),
    "prepare": ("prepare", "reading, validating, tokenising and storing pairs, against the tokenizer library alone"),
    "generate": ("generate", "sampling K responses a prompt, against transformers' generate"),
    "start-up": ("startup", "from the start of `logratio train` to its first step, by phase"),
    "on-policy": ("on_policy", "a step on fresh responses, sampling and judging included, against TRL's GRPO"),
    "judges": ("judges", "which judge is right more often: a reward model or a DPO policy's implicit reward"),
    "sweep": ("sweep", "runs over three values of β, in single runs: the reference is paid for once"),
    "worst": ("next_prompts", "whether the prompts that sample --worst picks teach more than prompts at random"),
}
"""Verb → (module of this package, what it measures)."""


def main(arguments: list[str]) -> int:
    """Run a verb with its arguments."""
    if not arguments or arguments[0] not in VERBS:
        wrong = arguments[:1] and arguments[0] not in ("-h", "--help")
        print("python -m bench VERB [--help]\n")
        for verb, (_, about) in VERBS.items():
            print(f"  {verb:12}{about}")
        return 2 if wrong else 0
    module = import_module(f".{VERBS[arguments[0]][0]}", __package__)
    return int(module.main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
