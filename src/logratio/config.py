"""The recipe: what a run is, checked before anything loads. Leaf configs, frozen, no unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

VERSION = 1
"""Version of the recipe's keys: it rises with any change after which an older recipe fails or means something else."""


class Leaf(BaseModel):
    """Base of every configuration record: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), validate_default=True, allow_inf_nan=False
    )


Share = Annotated[float, Field(gt=0, le=1)]
Overflow = Literal["drop", "error", "left_prompt", "truncate"]
LossOn = Literal["response", "last", "all"]


class DataPart(Leaf):
    """One file, folder or hub data set, with its share of the mixture."""

    path: str = Field(description="file, folder, or hub name[@revision][/config]")
    split: str | None = Field(None, description="split of a hub data set")
    weight: PositiveFloat = Field(1.0, description="how often its rows are drawn: 2 repeats each, 0.5 takes half")


def _parts(value: Any) -> Any:
    """Accept `a.jsonl`, `[a.jsonl, {path: b, weight: 2}]` or the full form."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple({"path": item} if isinstance(item, str) else item for item in items)


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Data = Annotated[tuple[DataPart, ...], BeforeValidator(_parts), Field(min_length=1)]


def _address(value: str) -> str:
    """Refuse what no record of a run may hold."""
    if any(sign in value for sign in "@?#"):
        raise ValueError(
            "an address that carries a user, password or query would be written into the run's records; leave it out, "
            "and put a key into the variable that api_key_env names"
        )
    return value


Address = Annotated[str, AfterValidator(_address)]

JUDGES = ("function", "reward_model", "implicit", "url")
"""The kinds of judges, by the key that names one."""


def judge_of(value: Any) -> Any:
    """Return the keys that the shorthand of a judge stands for; anything but text as it is.

    `http://…` is a chat server, `module:function` or `file.py:function` a function, and else a reward model's folder.
    """
    if not isinstance(value, str):
        return value
    if value.startswith(("http://", "https://")):
        return {"url": value}
    return {"function": value} if ":" in value else {"reward_model": value}


class JudgeConfig(Leaf):
    """Who says how good responses are: exactly one of `function`, `reward_model`, `implicit`, `url`."""

    function: str | None = Field(None, description="a Python function, as module:name or file.py:name")
    reward_model: str | None = Field(None, description="folder of a reward model, or of a run that trained one")
    implicit: str | None = Field(None, description="folder of a run whose log-ratio to its reference is the reward")
    url: Address | None = Field(
        None, description="a server that speaks the OpenAI chat protocol, as http://localhost:8000/v1"
    )
    model: str | None = Field(None, description="the model that the server is asked for")
    rubric: str | None = Field(None, description="text file that tells a language model what to judge by")
    api_key_env: str | None = Field(None, description="environment variable that holds the server's key")
    concurrency: PositiveInt = Field(8, description="requests under way at once")
    retries: int = Field(5, ge=0, description="attempts after a failed request, each after a longer wait")
    timeout: PositiveFloat = Field(60.0, description="seconds to wait for an answer")
    form: Literal["compare", "score"] = Field(
        "compare", description="a server's: every two responses in both orders, or each by itself from 1 to 10"
    )
    request: dict[str, Any] = Field(
        {"temperature": 0, "max_tokens": 1024}, description="a server's: further fields of each request"
    )
    price: tuple[float, float] | None = Field(
        None, description="a server's: price of a million tokens, read and written, for the cost to be told"
    )
    plain_http: bool = Field(False, description="whether text may go unencrypted to a server on another machine")
    on_failure: Literal["stop", "skip"] = Field(
        "stop", description="where there is no verdict: stop the run, or leave that prompt out and count it"
    )

    @model_validator(mode="after")
    def _one(self) -> JudgeConfig:
        given = [name for name in JUDGES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"{' and '.join(given) or 'no judge'} given, but a run has one judge; name exactly one of "
                f"{', '.join(JUDGES)}."
            )
        fields = type(self).model_fields
        shared = (*JUDGES, "on_failure")
        unread = [name for name in fields if name not in shared and getattr(self, name) != fields[name].default]
        if self.url is None and unread:
            raise ValueError(f"{', '.join(unread)} given, which only a judge with a url reads; leave it out.")
        return self


Judge = Annotated[JudgeConfig, BeforeValidator(judge_of)]


class EngineConfig(Leaf):
    """A server that draws responses, with weights of its own."""

    url: Address = Field(
        description="a server of OpenAI completions that tells token ids, as vLLM's at http://…:8000/v1"
    )
    model: str = Field(description="name by which the server knows the model that the run starts from")
    api_key_env: str | None = Field(None, description="environment variable that holds the server's key")
    concurrency: PositiveInt = Field(8, description="requests under way at once")
    retries: int = Field(5, ge=0, description="attempts after a failed request, each after a longer wait")
    timeout: PositiveFloat = Field(600.0, description="seconds to wait for the responses to one prompt")
    plain_http: bool = Field(False, description="whether text may go unencrypted to a server on another machine")


class RolloutConfig(Leaf):
    """Responses drawn from the present policy. A phase draws, judges, and trains on what it drew."""

    k: PositiveInt = Field(4, description="responses drawn to each prompt")
    temperature: PositiveFloat = Field(1.0, description="divides the logits, in sampling and in every log-prob")
    max_new_tokens: PositiveInt = Field(128, description="length limit of a response")
    every: PositiveInt | None = Field(None, description="batches of prompts a phase draws for; default: 1, every step")
    epochs: PositiveInt = Field(1, description="passes over what a phase drew")
    rounds: PositiveInt | None = Field(None, description="phases in the run, in place of `every`; 1 draws once")
    redraw: int = Field(
        0, ge=0, description="tries to put further prompts in place of those whose responses are all judged alike"
    )
    keep: Literal["all", "best"] = Field("all", description="best: of each prompt's responses the one judged best")
    edges: Literal["best_worst", "all"] = Field(
        "best_worst",
        description="pairs to learn from: the best with the worst response, or all that differ in score",
    )
    offload: bool = Field(
        False,
        description="whether reference and reward model are in memory only while they are asked, once a phase",
    )

    engine: EngineConfig | None = Field(
        None, description="a server that draws in place of the built-in sampler, with `rounds: 1` alone"
    )

    @model_validator(mode="after")
    def _one_spelling(self) -> RolloutConfig:
        if self.engine is not None and self.rounds != 1:
            raise ValueError(
                f"engine draws from the weights of {self.engine.model} at {self.engine.url}, which do not follow the "
                f"policy, and rounds is {self.rounds}; draw once, with rounds: 1, or leave engine out."
            )
        if self.every is not None and self.rounds is not None:
            raise ValueError(
                f"every is {self.every} and rounds is {self.rounds}, and each settles the other; leave one of them out."
            )
        return self


class TextsConfig(Leaf):
    """Texts that are imitated beside what is drawn: PPO-ptx, Ouyang et al. 2022 (arXiv:2203.02155), Eq. 2."""

    data: Data = Field(description="file, folder or hub name of texts, or of prompts with responses; long ones are cut")
    weight: PositiveFloat = Field(1.0, description="γ: weight of their mean loss per token in the loss; 27.8 there")
    batch_size: PositiveInt = Field(8, description="texts a step")


class EvalConfig(Leaf):
    """Data kept from training."""

    data: Data | None = Field(None, description="files to evaluate on; without them a share of prompts is held out")
    holdout: float = Field(0.05, ge=0, lt=1, description="share of prompts held out where no eval data is given")
    max_groups: PositiveInt = Field(500, description="at most so many held-out groups")
    samples: int = Field(8, ge=0, description="fixed prompts sampled at every evaluation")
    max_new_tokens: PositiveInt = Field(128, description="length limit of those samples")
    judge: Judge | None = Field(None, description="scores those samples; default: the judge that the run learns from")


class RowsConfig(Leaf):
    """How rows become records."""

    map: dict[str, str] = Field(default_factory=dict, description="canonical field → path in the row, as a.b.c")
    max_bad_rows: float = Field(0.01, ge=0, le=1, description="largest share of unusable rows")
    skip_bad_rows: bool = Field(False, description="drop unreadable and unusable rows, whatever their number")
    group_by_prompt: bool | None = Field(None, description="merge rows that share a prompt; default: as the objective")


class TokensConfig(Leaf):
    """How records become tokens."""

    max_length: PositiveInt = Field(2048, description="tokens of a prompt and one response together")
    overflow: Overflow = Field("drop", description="what happens to a longer one")
    loss_on: LossOn = Field("response", description="every assistant turn after the shared prompt, the last, or all")


class TemplateConfig(Leaf):
    """The chat template: auto is the tokenizer's own for chats, none treats text as plain."""

    use: Literal["auto", "none"] = Field("auto", description="auto: the tokenizer's chat template if it has one")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="passed to the template, as enable_thinking")


class TrainConfig(Leaf):
    """Optimisation."""

    batch_size: PositiveInt = Field(64, description="groups a step, over all ranks")
    epochs: PositiveFloat = Field(1.0, description="passes over the data; a fraction is allowed")
    lr: PositiveFloat = Field(1e-6, description="peak rate; unless given, 5e-7 from 3B parameters, × 10 for LoRA")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="how the rate falls after warm-up")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of steps over which the rate rises from peak/n")
    clip: PositiveFloat = Field(1.0, description="largest gradient norm")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay, times the rate")
    epsilon: PositiveFloat = Field(1e-8, description="ε, beside the root of the second moment in each update")
    optimizer: Literal["adamw", "adamw_8bit", "rmsprop"] = Field("adamw", description="adamw_8bit needs an extra")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU that has it, else fp32")
    weights: Literal["fp32", "bf16"] = Field("fp32", description="bf16: master weights by stochastic rounding")
    parallel: Literal["auto", "none", "replicate", "shard"] = Field(
        "auto", description="whether several processes hold whole copies or shards of the model"
    )
    path: Literal["auto", "shared", "plain"] = Field("auto", description="prompt encoded once, or one row a response")
    checkpointing: bool = Field(False, description="recompute activations in the backward pass")
    bin_tokens: PositiveInt | None = Field(None, description="tokens a micro-batch; default: from the memory estimate")
    seed: int = Field(0, ge=0, description="origin of every random number")


class LoraConfig(Leaf):
    """Low-rank adapters."""

    r: PositiveInt = Field(16, description="rank")
    alpha: PositiveFloat = Field(32.0, description="the adapter is scaled by alpha/r")
    targets: str | tuple[str, ...] = Field("all-linear", description="module names, or all-linear (attention and MLP)")
    dropout: float = Field(0.0, ge=0, le=0, description="0 only: a shared prompt assumes a deterministic forward")


class SyncConfig(Leaf):
    """A reference that follows the policy: TR-DPO, Gorbatovski et al. 2024 (arXiv:2404.09656)."""

    every: PositiveInt | Literal["phase"] | None = Field(
        None,
        description="steps after which the reference moves to the policy, as 512, or phase: as each phase of fresh "
        "responses begins; default: it never does",
    )
    alpha: float = Field(1.0, gt=0, le=1, description="the policy's share in it then: 1 replaces it, 0.6 mixes")


class EveryConfig(Leaf):
    """Intervals, as shares of the run."""

    eval: Share = Field(0.1, description="between evaluations")
    checkpoint: Share = Field(0.1, description="between checkpoints")
    noise_scale: Share | None = Field(
        None, description="between probes of the gradient noise scale, each a quarter of a step; default: none"
    )


class KeepConfig(Leaf):
    """Which checkpoints stay."""

    last: PositiveInt = Field(2, description="newest checkpoints that stay")
    best: str | None = Field(None, description="metric whose best checkpoint becomes model/, as eval/accuracy")


class ValueConfig(Leaf):
    """What gives the values that an objective such as `ppo` reads."""

    body: Literal["shared", "separate"] = Field(
        "shared", description="shared: a head on the policy's own hidden states; separate: a critic of its own"
    )
    start: str | None = Field(
        None, description="where it starts: a run or its value/, or the critic's model; default: values of 0"
    )
    lr: PositiveFloat = Field(1.0, description="its learning rate, as a multiple of train.lr")


class RunConfig(Leaf):
    """A whole run. `objective` is checked against the settings of the objective that it names."""

    version: PositiveInt = Field(VERSION, description="version of these keys; written with a run, and not to be set")
    model: str = Field(description="directory, or hub name[@revision]")
    data: Data = Field(description="file, folder or hub name:split, or a list of {path, split, weight}")
    objective: Annotated[dict[str, Any], BeforeValidator(_named)] = Field(
        {"name": "dpo"}, description="name and settings; `logratio objectives` lists them"
    )
    rollout: RolloutConfig | None = None
    judge: Judge | None = None
    value: ValueConfig | None = None
    texts: TextsConfig | None = None
    reference: str = Field("start", description="start: the model as loaded; base: LoRA's base weights; or a path")
    reference_sync: SyncConfig = SyncConfig()
    eval: EvalConfig = EvalConfig()
    rows: RowsConfig = RowsConfig()
    tokens: TokensConfig = TokensConfig()
    template: Annotated[TemplateConfig, BeforeValidator(lambda v: {"use": v} if isinstance(v, str) else v)] = (
        TemplateConfig()
    )
    train: TrainConfig = TrainConfig()
    lora: LoraConfig | None = None
    every: EveryConfig = EveryConfig()
    keep: KeepConfig = KeepConfig()
    trackers: Annotated[tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...], BeforeValidator(_listed)] = (
        Field((), description="where metrics go beside metrics.jsonl")
    )
    stop_on: Literal["collapse"] | None = Field(
        None, description="collapse: stop once samples repeat, do not end or leave nothing to chance; default: go on"
    )
    output: str | None = Field(None, description="run directory; default: runs/<date>-<model>-<objective>")

    @model_validator(mode="after")
    def _named_objective(self) -> RunConfig:
        if "name" not in self.objective:
            raise ValueError("objective needs a name, as {name: dpo, beta: 0.1}")
        return self
