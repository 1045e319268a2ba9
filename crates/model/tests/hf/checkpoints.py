"""Saves a small random model of every kind as transformers does, and says what it made of configs and tensors.

Arguments: a folder to work in, and a file of JSON with `models` and `configs`.
"""

import json
import os
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

FOLDER, ASKED = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))


def plain(config):
    """What a config comes to, in the words of this test."""
    rope = dict(config.rope_parameters)
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if config.model_type == "llama":
        window = None
    sliding = [kind == "sliding_attention" for kind in kinds] if kinds and config.model_type != "mistral" else [True] * config.num_hidden_layers
    return {
        "vocab": config.vocab_size,
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_width": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        "mlp_hidden": config.intermediate_size,
        "norm_epsilon": config.rms_norm_eps,
        "theta": rope["rope_theta"],
        "rope": rope["rope_type"],
        "scaling": [float(rope.get(key) or 0) for key in ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]],
        "windows": [window if slides else None for slides in sliding],
        "tied": config.tie_word_embeddings,
        "max_context": config.max_position_embeddings,
    }


def read_config(name, document):
    folder = os.path.join(FOLDER, "config-" + name)
    os.makedirs(folder)
    json.dump(document, open(os.path.join(folder, "config.json"), "w", encoding="utf-8"))
    return plain(AutoConfig.from_pretrained(folder))


def save_model(name, asked):
    """A model's tensors: names, extents, and values as the sums of both halves of their bits, which no rounding changes."""
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**asked["config"])).to(getattr(torch, asked["dtype"]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = os.path.join(FOLDER, name)
    model.save_pretrained(folder, max_shard_size=asked["shard"])
    tensors = {}
    for tensor_name, tensor in model.state_dict().items():
        if tensor_name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        bits = tensor.float().contiguous().view(torch.int32).flatten().long() & 0xFFFFFFFF
        position = torch.arange(1, bits.numel() + 1)
        tensors[tensor_name] = {"shape": list(tensor.shape), "sum": int((bits * position % 1_000_003).sum())}
    return {"config": plain(model.config), "tensors": tensors}


answers = {
    "configs": {name: read_config(name, document) for name, document in ASKED["configs"].items()},
    "models": {name: save_model(name, asked) for name, asked in ASKED["models"].items()},
}
json.dump(answers, open(os.path.join(FOLDER, "answers.json"), "w", encoding="utf-8"))
