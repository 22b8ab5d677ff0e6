"""Responses drawn by vLLM's offline engine. Written against its documented interface and never run by us."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from ...batch.group import Ints
from ...errors import EngineError, MissingExtraError
from ..engine import alike, sample_of
from ..sampling import Rules, Sample


class VllmEngine:
    """An engine of its own weights, which `load_weights` or `load_adapter` replaces by a policy's."""

    def __init__(self, model: str, **options: Any) -> None:
        """Start the engine.

        Args:
            model: Folder or hub name.
            options: Passed to `vllm.LLM`, as gpu_memory_utilization or enable_lora.

        Raises:
            MissingExtraError: vLLM is not installed.
        """
        try:
            self._library = import_module("vllm")
        except ImportError:
            raise MissingExtraError("generation by vLLM", "vllm") from None
        self._engine = self._library.LLM(model=model, **options)
        self._adapter: Any = None
        self._adapters = 0
        self.description = f"vLLM with {model}"

    def __call__(self, prompts: Sequence[Ints], rules: Rules) -> list[list[Sample]]:
        """Draw; log-probs are those before the temperature, vLLM's default.

        Raises:
            EngineError: It drew what was not asked for.
        """
        if not prompts:
            return []
        asked = self._library.SamplingParams(
            n=rules.k,
            max_tokens=rules.limit,
            temperature=rules.temperature,
            seed=rules.seed % (1 << 31),
            stop_token_ids=rules.stops.tolist(),
            ignore_eos=True,  # the rules' alone decide
            logprobs=0,
            detokenize=False,
        )
        texts = [{"prompt_token_ids": [int(token) for token in prompt]} for prompt in prompts]
        drawn = self._engine.generate(texts, asked, use_tqdm=False, lora_request=self._adapter)
        if len(drawn) != len(prompts) or any(len(one.outputs) != rules.k for one in drawn):
            raise EngineError(
                f"{self.description} drew other than {rules.k} responses to each of {len(prompts)} prompts."
            )
        return alike([[sample_of(*_tokens(output), rules) for output in one.outputs] for one in drawn])

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take over weights by their names in transformers, without touching disk, and forget cached prompts."""
        named = list(weights)
        self._engine.apply_model(lambda model: model.load_weights(named))
        self._engine.reset_prefix_cache()

    def load_adapter(self, folder: Path) -> None:
        """Draw with a LoRA adapter from now on; the engine must have been started with enable_lora=True."""
        self._adapters += 1  # a number that was seen is not read again
        self._adapter = import_module("vllm.lora.request").LoRARequest(
            f"adapter-{self._adapters}", self._adapters, str(folder)
        )
        self._engine.reset_prefix_cache()


def _tokens(output: Any) -> tuple[list[int], list[float] | None]:
    tokens = [int(token) for token in output.token_ids]
    if output.logprobs is None:
        return tokens, None
    return tokens, [float(at[token].logprob) for token, at in zip(tokens, output.logprobs, strict=True)]
