"""Keys of TRL, transformers, PEFT and similar tools that are not recipe keys, and what to write instead."""

_IMAGE_TOKENS = "Write `model.max_image_tokens`; one token covers 28 x 28 pixels."
_LENGTH = (
    "Leave it out: prompts are never truncated. `method.max_completion_length` limits completions, "
    "`model.max_image_tokens` limits images."
)
_EPOCHS = "Write `method.epochs`, or `method.max_steps` for optimizer steps."
_PROMPTS_PER_STEP = "Write `method.prompts_per_step`: lowmed derives gradient accumulation from it."
_PRECISION = "Leave it out: lowmed uses bf16 where the GPU has it, else fp16."
_OPTIMIZER = "Leave it out: lowmed uses AdamW without weight decay."
_DEV = "Write `data.dev` for the questions, and `dev.eval_steps` for the steps between evaluations."
_LOGGING = "Leave it out: metrics of every step are written to metrics.jsonl in the run directory."
_TRACKER = "Write `track.to`: tensorboard, wandb, mlflow or trackio."
_LAYERS = "Leave it out: the adapter covers all linear layers of the language model."
_OUT = "Use the option `--out`."
_BATCH = "Write `method.per_device_train_batch_size`; `method.prompts_per_step` sets the questions of a step."
_REWARDS = "Write `method.rewards`: a list of {name: ..., weight: ...}."
_SOURCE = "Write `data.source`, and `data.path` for a local copy."
_SOURCES = "Write `data.sources`: a list of {source: ..., path: ..., share: ...}."
_GROUP = "Write `method.num_generations`."
_ADAPTER = "Write `lora.start`: the run or adapter directory to continue from."
_SHARD = "Write `model.shard: fsdp`: the processes of a run divide the model."
_PROMPT = "Write `prompts.train` and `prompts.infer`."

# The last part of a key, or a whole key where the section matters -> the hint.
HINTS = {
    "method.max_new_tokens": "Write `method.max_completion_length`.",
    "fsdp": _SHARD,
    "fsdp_config": _SHARD,
    "deepspeed": _SHARD,
    "zero_stage": _SHARD,
    "lr": "Write `method.learning_rate`.",
    "lr_scheduler": "Write `method.lr_scheduler_type`.",
    "scheduler": "Write `method.lr_scheduler_type`.",
    "warmup_steps": "Write `method.warmup_ratio`: a share of the steps.",
    "epochs": _EPOCHS,
    "num_epochs": _EPOCHS,
    "max_epochs": _EPOCHS,
    "num_train_epochs": _EPOCHS,
    "steps": "Write `method.max_steps`.",
    "batch_size": _BATCH,
    "train_batch_size": _BATCH,
    "micro_batch_size": _BATCH,
    "gradient_accumulation_steps": _PROMPTS_PER_STEP,
    "global_batch_size": _PROMPTS_PER_STEP,
    "generation_batch_size": _PROMPTS_PER_STEP,
    "optim": _OPTIMIZER,
    "optimizer": _OPTIMIZER,
    "weight_decay": _OPTIMIZER,
    "gradient_clipping": "Write `method.max_grad_norm`.",
    "bf16": _PRECISION,
    "fp16": _PRECISION,
    "dtype": _PRECISION,
    "torch_dtype": _PRECISION,
    "group_size": _GROUP,
    "num_rollouts": _GROUP,
    "num_return_sequences": _GROUP,
    "num_samples": "Write `method.num_generations` for completions per prompt, "
    "`data.max_train_questions` for training questions.",
    "max_samples": "Write `data.max_train_questions`.",
    "max_train_samples": "Write `data.max_train_questions`.",
    "max_eval_samples": "Write `eval.max_questions`.",
    "kl_coef": "Write `method.beta`.",
    "cliprange": "Write `method.epsilon`.",
    "clip_range": "Write `method.epsilon`.",
    "reward_funcs": _REWARDS,
    "reward_functions": _REWARDS,
    "reward_weights": _REWARDS,
    "r": "Write `lora.rank`.",
    "lora_r": "Write `lora.rank`.",
    "lora_rank": "Write `lora.rank`.",
    "lora_alpha": "Write `lora.alpha`.",
    "lora_dropout": "Leave it out: the adapter has no dropout.",
    "target_modules": _LAYERS,
    "modules_to_save": _LAYERS,
    "adapter": _ADAPTER,
    "adapter_path": _ADAPTER,
    "model_name_or_path": "Write `model.name`.",
    "pretrained_model_name_or_path": "Write `model.name`.",
    "model_name": "Write `model.name`.",
    "model_id": "Write `model.name`.",
    "base_model": "Write `model.name`.",
    "load_in_4bit": "Write `model.load_in: 4bit`.",
    "load_in_8bit": "Write `model.load_in: 4bit` or `16bit`; 8 bits are not supported.",
    "quantization": "Write `model.load_in: 4bit` or `16bit`.",
    "use_vllm": "Write `model.rollout: vllm-server` and `model.rollout_url`.",
    "use_unsloth": "Write `model.backend: unsloth`.",
    "max_pixels": _IMAGE_TOKENS,
    "image_size": _IMAGE_TOKENS,
    "max_seq_length": _LENGTH,
    "max_length": _LENGTH,
    "max_prompt_length": _LENGTH,
    "cutoff_len": _LENGTH,
    "dataset": _SOURCE,
    "dataset_name": _SOURCE,
    "train_dataset": _SOURCE,
    "dataset_path": "Write `data.path`.",
    "data_path": "Write `data.path`.",
    "datasets": _SOURCES,
    "train_datasets": _SOURCES,
    "interleave_probs": _SOURCES,
    "probabilities": _SOURCES,
    "mix_strategy": _SOURCES,
    "mix_temperature": "Write `data.mixing_temperature`.",
    "test_size": "Write `data.held_out`: a share of the images.",
    "system_prompt": "Write `prompts.system`.",
    "system_message": "Write `prompts.system`.",
    "prompt_template": _PROMPT,
    "eval_steps": _DEV,
    "eval_strategy": _DEV,
    "evaluation_strategy": _DEV,
    "eval_size": _DEV,
    "val_size": _DEV,
    "split_dataset_ratio": _DEV,
    "load_best_model_at_end": "Write `dev.keep`: best or last.",
    "early_stopping_patience": "Write `dev.patience`.",
    "logging_steps": _LOGGING,
    "report_to": _TRACKER,
    "use_wandb": _TRACKER,
    "wandb_project": "Write `track.project`, and `track.to: wandb`.",
    "mlflow_experiment": "Write `track.project`, and `track.to: mlflow`.",
    "output_dir": _OUT,
    "run_name": _OUT,
    "resume_from_checkpoint": "Use the option `--resume`.",
}
