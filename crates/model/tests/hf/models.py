"""Saves small random models of every family and what transformers predicts with them.

Arguments: a folder to write into. Prints JSON: by name the token ids, and the logits of every position.
"""

import json
import random
import sys

import torch
import transformers

IDS = [(n * n * 7 + 3 * n + 1) % 96 for n in range(40)]


def common(**more):
    return dict(
        vocab_size=96, hidden_size=32, intermediate_size=56, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=256, initializer_range=0.25, pad_token_id=0, bos_token_id=1, eos_token_id=2, **more,
    )


LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}

CASES = {
    "llama-2": ("Llama", common(num_key_value_heads=4, tie_word_embeddings=False), torch.float32),
    "llama-3": ("Llama", common(num_key_value_heads=2, tie_word_embeddings=False, rope_parameters=LLAMA3), torch.float32),
    "llama-linear": ("Llama", common(num_key_value_heads=1, tie_word_embeddings=True, rope_parameters=LINEAR), torch.float32),
    "llama-bias": ("Llama", common(num_key_value_heads=2, tie_word_embeddings=False, attention_bias=True), torch.float32),
    "smollm": ("Llama", common(num_key_value_heads=2, tie_word_embeddings=True, head_dim=8), torch.float32),
    "qwen2": ("Qwen2", common(num_key_value_heads=2, tie_word_embeddings=True), torch.float32),
    "qwen2-window": (
        "Qwen2",
        common(num_key_value_heads=2, tie_word_embeddings=False, use_sliding_window=True, sliding_window=6, max_window_layers=1),
        torch.float32,
    ),
    "qwen2.5": ("Qwen2", common(num_key_value_heads=1, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 1e6}), torch.float32),
    "qwen3-bias": ("Qwen3", common(num_key_value_heads=4, tie_word_embeddings=False, head_dim=8, attention_bias=True), torch.float32),
    "qwen3": ("Qwen3", common(num_key_value_heads=2, tie_word_embeddings=True, head_dim=16), torch.float32),
    "mistral": ("Mistral", common(num_key_value_heads=2, tie_word_embeddings=False, sliding_window=9), torch.float32),
    "mistral-bf16": ("Mistral", common(num_key_value_heads=2, tie_word_embeddings=False, sliding_window=None), torch.bfloat16),
    "llama-f16": ("Llama", common(num_key_value_heads=2, tie_word_embeddings=False), torch.float16),
}


def drawn(family, seed):
    """A shape that nobody chose: odd numbers of heads, widths that are no powers of two, groups of any size."""
    draw = random.Random(f"{family} {seed}")
    groups, each, head = draw.choice([1, 2, 3]), draw.choice([1, 2, 3]), draw.choice([4, 6, 10, 12])
    settings = common(num_key_value_heads=groups, tie_word_embeddings=draw.random() < 0.5, head_dim=head)
    settings |= dict(
        hidden_size=groups * each * (draw.choice([17, 23, 40]) // (groups * each) + 1), intermediate_size=draw.choice([33, 47, 60]), num_hidden_layers=draw.choice([3, 4]),
        num_attention_heads=groups * each, rms_norm_eps=draw.choice([1e-6, 1e-5]),
        rope_parameters={"rope_type": "default", "rope_theta": draw.choice([1e4, 5e5])},
    )
    if family in ("Llama", "Qwen3"):
        settings["attention_bias"] = draw.random() < 0.5
    if family == "Mistral":
        settings["sliding_window"] = draw.choice([None, 7, 13])
    if family == "Qwen2":
        # Its heads share the width out.
        del settings["head_dim"]
        settings["hidden_size"] = head * groups * each
    return family, settings, torch.float32


CASES |= {f"{family.lower()} {seed}": drawn(family, seed) for family in ("Llama", "Qwen2", "Qwen3", "Mistral") for seed in range(3)}


def main(folder):
    said = {}
    for name, (family, settings, dtype) in CASES.items():
        torch.manual_seed(len(name))
        config = getattr(transformers, f"{family}Config")(**settings)
        config._attn_implementation = "eager"
        model = getattr(transformers, f"{family}ForCausalLM")(config)
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                if "norm" in path or path.endswith("bias"):
                    parameter.add_(torch.randn_like(parameter) * 0.3)
        model = model.to(dtype)
        shard = "20KB" if "bf16" not in name else "10GB"
        model.save_pretrained(f"{folder}/{name}", safe_serialization=True, max_shard_size=shard)
        # Weights as they were saved, arithmetic in single precision; a model that is only converted back keeps rounded frequencies.
        model = type(model).from_pretrained(f"{folder}/{name}", dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            logits = model(torch.tensor([IDS])).logits[0]
        said[name] = {"ids": IDS, "logits": logits.flatten().tolist()}
    json.dump(said, sys.stdout)


main(sys.argv[1])
