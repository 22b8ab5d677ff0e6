"""Keys of TRL, LLaMA-Factory and Axolotl, answered with ours."""

from __future__ import annotations

from collections.abc import Mapping

RENAMED: Mapping[str, str] = {
    # model and data
    "model_name_or_path": "model",
    "base_model": "model",
    "dataset_name": "data",
    "dataset": "data",
    "datasets": "data",
    "train_dataset": "data",
    "train_file": "data",
    "eval_dataset": "eval.data",
    "test_datasets": "eval.data",
    "output_dir": "output",
    "run_name": "output",
    "ref_model": "reference",
    "ref_model_name_or_path": "reference",
    "ref_model_sync_steps": "reference_sync.every",
    "ref_model_mixup_alpha": "reference_sync.alpha",
    "val_size": "eval.holdout",
    "val_set_size": "eval.holdout",
    # tokens
    "cutoff_len": "tokens.max_length",
    "sequence_len": "tokens.max_length",
    "max_seq_length": "tokens.max_length",
    "model_max_length": "tokens.max_length",
    "chat_template_kwargs": "template.kwargs",
    # optimisation
    "learning_rate": "train.lr",
    "num_train_epochs": "train.epochs",
    "num_epochs": "train.epochs",
    "lr_scheduler_type": "train.schedule",
    "lr_scheduler": "train.schedule",
    "warmup_ratio": "train.warmup",
    "max_grad_norm": "train.clip",
    "gradient_checkpointing": "train.checkpointing",
    "weight_decay": "train.weight_decay",
    "adam_epsilon": "train.epsilon",
    "seed": "train.seed",
    # objective
    "pref_beta": "objective.beta",
    "dpo_beta": "objective.beta",
    "rl_beta": "objective.beta",
    "kto_beta": "objective.beta",
    "dpo_label_smoothing": "objective.label_smoothing",
    "rl": "objective",
    "stage": "objective",
    "kto_chosen_weight": "objective.desirable_weight",
    "kto_rejected_weight": "objective.undesirable_weight",
    "kto_desirable_weight": "objective.desirable_weight",
    "kto_undesirable_weight": "objective.undesirable_weight",
    # adapters
    "lora_r": "lora.r",
    "lora_rank": "lora.r",
    "lora_alpha": "lora.alpha",
    "lora_target": "lora.targets",
    "lora_target_modules": "lora.targets",
    # responses drawn from the policy
    "num_generations": "rollout.k",
    "response_length": "rollout.max_new_tokens",
    "num_ppo_epochs": "rollout.epochs",
    "ppo_epochs": "rollout.epochs",
    "num_iterations": "rollout.epochs",
    "reward_model_path": "judge",
    "reward_model": "judge",
    "reward_funcs": "judge",
    # reports
    "save_total_limit": "keep.last",
    "metric_for_best_model": "keep.best",
    "report_to": "trackers",
}
"""Same meaning, other name."""

_BATCH = (
    "train.batch_size counts groups a step over all processes, that is batch per device × "
    "gradient_accumulation_steps × processes; micro-batches are planned from memory"
)
_TEMPLATE = "the tokenizer's own chat template is used; `template: none` treats text as plain"
_REFERENCE = "say `reference: start`, `base` or a PATH"
_CACHED = "reference log-probs are always computed once and kept"
_PRECISION = "use train.precision: auto, fp32 or bf16"
_PARALLEL = "use train.parallel: none, replicate or shard, and start with torchrun"
_QUANTISED = "quantised training is not offered; lora.r with train.precision: bf16 saves memory"
_ATTENTION = "the attention path is chosen for the model and checked on the first batch; train.path: plain turns it off"
_PACKED = "batches are always packed without padding, each response seeing only its own prompt"
_SFT = "it is a mean over each chosen response's tokens, then over pairs"
_STEPS = "intervals are shares of the run"
_UNNEEDED = "leave it out"
_OPTIMIZER = "use train.optimizer: adamw, adamw_8bit or rmsprop"
_LIGER = "full logits are never built; leave it out"
_TRACKED = "write `trackers: [wandb]` and set WANDB_PROJECT, WANDB_ENTITY or WANDB_NAME in the environment"
_TOKENS = "the tokenizer's own tokens are used; save one with others beside the model"
_DORA = "plain low-rank adapters only"

EXPLAINED: Mapping[str, str] = {
    "per_device_train_batch_size": _BATCH,
    "micro_batch_size": _BATCH,
    "gradient_accumulation_steps": _BATCH,
    "per_device_eval_batch_size": "evaluation gives the same numbers whatever its batch; leave it out",
    "eval_batch_size": "evaluation gives the same numbers whatever its batch; leave it out",
    "auto_find_batch_size": "micro-batches are planned from memory; leave it out",
    "max_steps": "write train.epochs = max_steps × train.batch_size / rows",
    "warmup_steps": "write train.warmup = warmup_steps / steps of the run",
    "save_steps": f"{_STEPS}: every.checkpoint = save_steps / steps of the run",
    "saves_per_epoch": f"{_STEPS}: every.checkpoint = 1 / (saves_per_epoch × train.epochs)",
    "save_only_model": "checkpoints hold what resuming needs, model/ the weights alone; leave it out",
    "save_safetensors": "weights are always saved as safetensors; leave it out",
    "save_strategy": f"{_STEPS}: set every.checkpoint",
    "eval_steps": f"{_STEPS}: every.eval = eval_steps / steps of the run",
    "evals_per_epoch": f"{_STEPS}: every.eval = 1 / (evals_per_epoch × train.epochs)",
    "eval_strategy": f"{_STEPS}: set every.eval",
    "evaluation_strategy": f"{_STEPS}: set every.eval",
    "logging_steps": "every step is written to metrics.jsonl; leave it out",
    "logging_first_step": "every step is written to metrics.jsonl; leave it out",
    "plot_loss": "`logratio report RUN` draws the curves; leave it out",
    "load_best_model_at_end": "name the metric in keep.best, as eval/accuracy",
    "resume_from_checkpoint": "use `logratio train --resume RUN`",
    "auto_resume_from_checkpoints": "use `logratio train --resume auto --output RUN`",
    "early_stopping_patience": "name the metric in keep.best; its best checkpoint becomes model/",
    "overwrite_output_dir": "a used run directory is never overwritten; choose another output or --resume it",
    "do_train": f"`logratio train` trains; {_UNNEEDED}",
    "do_eval": f"held-out prompts are evaluated every every.eval of the run; {_UNNEEDED}",
    "loss_type": "each loss is an objective: sigmoid is `objective: dpo` (`logratio objectives` lists them)",
    "pref_loss": "each loss is an objective: sigmoid is `objective: dpo` (`logratio objectives` lists them)",
    "loss_weights": "an objective is one loss, beside which objective.sft_weight puts the chosen response's likelihood",
    "pref_ftx": f"write objective.sft_weight; {_SFT}",
    "rpo_alpha": f"write objective.sft_weight; {_SFT}",
    "dpo_use_weighting": "weighing pairs by their likelihood is `objective: wpo`; a `weight` column weighs rows",
    "reference_free": "choose an objective without a reference (`logratio objectives` lists what each needs)",
    "neftune_noise_alpha": "no noise is added: the policy must be the same function in every pass",
    "f_divergence_type": "write objective.divergence: reverse_kl, forward_kl, js, alpha or chi_squared_mixture",
    "f_alpha_divergence_coef": "write objective.divergence: alpha with objective.alpha = 1 − it, the paper's α",
    "ld_alpha": "write `objective: {name: ld_dpo, alpha: …}`",
    "simpo_gamma": "write objective.gamma_beta_ratio = simpo_gamma / β with `objective: simpo`",
    "orpo_alpha": "write objective.weight with `objective: orpo`",
    "cpo_alpha": "write objective.alpha with `objective: cpo`",
    "dpo_norm_loss": "dividing by length is `objective: dpo_norm`",
    "discopop_tau": "write `objective: {name: discopop, …}`; `logratio objectives discopop` has its settings",
    "precompute_ref_log_probs": f"{_CACHED}; leave it out",
    "precompute_ref_batch_size": f"{_CACHED}; leave it out",
    "sync_ref_model": "reference_sync.every says after how many steps the reference moves; without it, never",
    "ref_model_adapters": _REFERENCE,
    "ref_adapter_name": f"a loaded adapter is itself the reference; otherwise {_REFERENCE}",
    "model_adapter_name": "give the adapter's directory as `model`",
    "adapter_name_or_path": "give the adapter's directory as `model`",
    "create_new_adapter": "an adapter given as `model` is trained further; to begin a new one, merge it first",
    "lora_model_dir": "give the adapter's directory as `model`",
    "force_use_ref_model": f"what serves as reference is explicit; {_REFERENCE}",
    "finetuning_type": "`lora: null` trains all weights, `lora: {r: 16}` an adapter",
    "adapter": "`lora: null` trains all weights, `lora: {r: 16}` an adapter",
    "use_peft": "`lora: null` trains all weights, `lora: {r: 16}` an adapter",
    "lora_dropout": "dropout is 0: the policy must be the same function in every pass",
    "lora_target_linear": "`lora.targets: all-linear` is the default",
    "additional_target": "adapters only: name linear modules in lora.targets",
    "loraplus_lr_ratio": "both factors of an adapter learn at one rate; leave it out",
    "lora_modules_to_save": "adapters only: name linear modules in lora.targets",
    "use_dora": _DORA,
    "peft_use_dora": _DORA,
    "use_rslora": "plain low-rank adapters; write lora.alpha = alpha × √r for the same scale",
    "disable_dropout": "every dropout is 0; leave it out",
    "load_in_4bit": _QUANTISED,
    "load_in_8bit": _QUANTISED,
    "quantization_bit": _QUANTISED,
    "bf16": _PRECISION,
    "fp16": f"float16 overflows in log-probs; {_PRECISION}",
    "tf32": _PRECISION,
    "pure_bf16": "use train.weights: bf16",
    "dtype": _PRECISION,
    "torch_dtype": _PRECISION,
    "ddp_timeout": "a process that died is noticed without a timeout; leave it out",
    "deepspeed": _PARALLEL,
    "fsdp": _PARALLEL,
    "fsdp_config": _PARALLEL,
    "optim": _OPTIMIZER,
    "optimizer": _OPTIMIZER,
    "adam_beta1": "AdamW's β are 0.9 and 0.999",
    "adam_beta2": "AdamW's β are 0.9 and 0.999",
    "max_prompt_length": "tokens.max_length bounds prompt and response together; tokens.overflow says what gives way",
    "max_completion_length": "tokens.max_length bounds prompt and response, rollout.max_new_tokens what is drawn",
    "truncation_mode": "tokens.overflow: left_prompt is keep_end, truncate is keep_start, drop is the default",
    "completion_only_loss": "only responses carry loss; tokens.loss_on says which turns",
    "assistant_only_loss": "only responses carry loss; tokens.loss_on says which turns",
    "train_on_inputs": "prompts never carry loss; tokens.loss_on says which turns do",
    "train_on_prompt": "prompts never carry loss; tokens.loss_on says which turns do",
    "mask_history": "use tokens.loss_on: last",
    "packing": f"{_PACKED}; leave it out",
    "sample_packing": f"{_PACKED}; leave it out",
    "eval_sample_packing": f"{_PACKED}; leave it out",
    "neat_packing": f"{_PACKED}; leave it out",
    "padding_free": f"{_PACKED}; leave it out",
    "pad_to_sequence_len": f"{_PACKED}; leave it out",
    "group_by_length": f"{_PACKED}; leave it out",
    "padding_value": "masks go by length, never by id; leave it out",
    "label_pad_token_id": "masks go by length, never by id; leave it out",
    "use_liger_kernel": _LIGER,
    "enable_liger_kernel": _LIGER,
    "use_logits_to_keep": _LIGER,
    "attn_implementation": _ATTENTION,
    "flash_attn": _ATTENTION,
    "flash_attention": _ATTENTION,
    "sdp_attention": _ATTENTION,
    "xformers_attention": _ATTENTION,
    "special_tokens": _TOKENS,
    "new_special_tokens": _TOKENS,
    "chat_template": _TEMPLATE,
    "chat_template_path": _TEMPLATE,
    "enable_thinking": "use template.kwargs.enable_thinking",
    "generate_during_eval": "eval.samples says how many prompts are sampled",
    "wandb_project": _TRACKED,
    "wandb_entity": _TRACKED,
    "wandb_name": _TRACKED,
    "dataset_num_proc": "tokenised data is cached; leave it out",
    "dataset_processes": "tokenised data is cached; leave it out",
    "preprocessing_num_workers": "tokenised data is cached; leave it out",
    "dataloader_num_workers": "tokenised data is memory-mapped; leave it out",
    "dataset_prepared_path": "tokenised data is cached by content in $LOGRATIO_CACHE; leave it out",
    "overwrite_cache": "caches are keyed by content; `logratio cache --prune` cleans them",
    "dataset_exact_deduplication": "`logratio audit DATA --fix CLEAN.jsonl` leaves copies out",
    "dataset_dir": "give full paths in `data`",
    "dataset_config": "write the hub name as NAME/config:split in `data`",
    "dataset_train_split": "write the hub name as NAME:split in `data`",
    "dataset_test_split": "write the hub name as NAME:split in eval.data",
    "max_samples": "take part of the data with `data: [{path: …, weight: 0.1}]`",
    "trust_remote_code": "code from a model's repository is never run",
    "remove_unused_columns": "extra columns are harmless; leave it out",
    "processing_class": "the tokenizer comes with the model; leave it out",
    "tokenizer_type": "the tokenizer comes with the model; leave it out",
    "model_type": "the architecture is read from the model; leave it out",
    "push_to_hub": "upload model/ of the run directory with `hf upload` when it is good",
    "hub_model_id": "upload model/ of the run directory with `hf upload` when it is good",
}
"""Other meaning, or no counterpart: what to write instead, and the conversion."""

_HERE_TOO: Mapping[str, str] = {"template": _TEMPLATE}
"""Keys of ours with another meaning there, so that only the tables can answer them."""

TOOLS: Mapping[str, tuple[str, ...]] = {
    "LLaMA-Factory": tuple(
        """
        model_name_or_path adapter_name_or_path create_new_adapter trust_remote_code stage do_train do_eval
        finetuning_type lora_rank lora_alpha lora_dropout lora_target additional_target use_dora use_rslora
        quantization_bit pref_beta pref_loss pref_ftx dpo_label_smoothing simpo_gamma ld_alpha kto_chosen_weight
        kto_rejected_weight ref_model ref_model_adapters reward_model ppo_epochs dataset dataset_dir eval_dataset
        template val_size cutoff_len max_samples mask_history train_on_prompt packing neat_packing enable_thinking
        overwrite_cache preprocessing_num_workers dataloader_num_workers per_device_train_batch_size
        gradient_accumulation_steps per_device_eval_batch_size learning_rate num_train_epochs max_steps
        lr_scheduler_type warmup_ratio warmup_steps max_grad_norm weight_decay optim seed bf16 fp16 pure_bf16
        flash_attn enable_liger_kernel gradient_checkpointing neftune_noise_alpha loraplus_lr_ratio deepspeed fsdp
        ddp_timeout output_dir overwrite_output_dir resume_from_checkpoint logging_steps eval_strategy eval_steps
        save_strategy save_steps save_only_model save_total_limit load_best_model_at_end metric_for_best_model
        plot_loss report_to run_name
        """.split()
    ),
    "Axolotl": tuple(
        """
        base_model model_type tokenizer_type lora_model_dir special_tokens chat_template rl rl_beta
        dpo_label_smoothing dpo_norm_loss dpo_use_weighting rpo_alpha simpo_gamma orpo_alpha cpo_alpha
        kto_desirable_weight kto_undesirable_weight precompute_ref_log_probs datasets test_datasets val_set_size
        dataset_prepared_path dataset_processes dataset_exact_deduplication remove_unused_columns train_on_inputs
        sequence_len sample_packing eval_sample_packing pad_to_sequence_len group_by_length adapter lora_r lora_alpha
        lora_dropout lora_target_linear lora_target_modules lora_modules_to_save peft_use_dora loraplus_lr_ratio
        load_in_8bit load_in_4bit micro_batch_size eval_batch_size gradient_accumulation_steps num_epochs max_steps
        learning_rate lr_scheduler warmup_steps warmup_ratio max_grad_norm weight_decay optimizer seed bf16 fp16 tf32
        flash_attention sdp_attention xformers_attention gradient_checkpointing neftune_noise_alpha deepspeed fsdp
        fsdp_config output_dir resume_from_checkpoint auto_resume_from_checkpoints logging_steps evals_per_epoch
        eval_steps eval_strategy saves_per_epoch save_steps save_strategy save_safetensors save_total_limit
        load_best_model_at_end metric_for_best_model early_stopping_patience wandb_project wandb_entity wandb_name
        hub_model_id
        """.split()
    ),
}
"""Keys that recipes of other tools commonly have, in the order of their examples."""


def answer(key: str, value: str) -> str | None:
    """Return what to write instead of another tool's key, or None where it is unknown.

    Args:
        key: The key, or its last part.
        value: What the person gave, as a recipe shows it.
    """
    if key in RENAMED:
        return f"`{key}` is called `{RENAMED[key]}` here: write `{RENAMED[key]}: {value}`."
    if key in EXPLAINED:
        return f"`{key}` has no counterpart of that meaning here: {EXPLAINED[key]}."
    return None


def table() -> str:
    """Return the keys that are only named otherwise, ours first, as Markdown."""
    theirs: dict[str, list[str]] = {}
    for key, own in RENAMED.items():
        theirs.setdefault(own, []).append(f"`{key}`")
    rows = [f"| `{own}` | {', '.join(sorted(keys))} |" for own, keys in theirs.items()]
    return "\n".join(["| here | there |", "| --- | --- |", *rows])


def tool_table(tool: str) -> str:
    """Return a tool's keys with what to write instead, as Markdown; what an error message answers, in short."""
    told = {**{key: f"`{own}`" for key, own in RENAMED.items()}, **EXPLAINED, **_HERE_TOO}
    rows = [f"| `{key}` | {told[key]} |" for key in TOOLS[tool]]
    return "\n".join(["| there | here |", "| --- | --- |", *rows])
