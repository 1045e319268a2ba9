"""Makes a checkpoint's tokenizer of every family's kind, and says what transformers makes of texts, ids and conversations with each.

Arguments: a folder to work in, and a file of JSON with `texts`, `conversations` and `templates`.
"""

import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

FOLDER, ASKED = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

CORPUS = [
    "The harbor at Bergen was quiet, and the ferry had left an hour ago. What is it that you want to know about the lamp?",
    "def add(a, b):\n    return a + b\n\nfor (int i = 0; i < 10; ++i) {\n\tprintf(\"%d\\n\", i);\n}",
    "Größe und Maß: naïve façade, l'été, dziękuję, Привет мир, Γειά σου, שלום עולם, مرحبا بالعالم",
    "日本語のテキスト。中文文本，你好世界！ 한국어 텍스트",
    "1234567890 3.14159 1,000,000 2026-11-29 +49 30 123456",
    "user assistant system You are a helpful assistant. [INST] <<SYS>> <</SYS>> [/INST] im_start im_end",
    "a  b   c    d\t\te\n\n\nf  \n  g",
    "It's they're we've I'm you'll he'd CAN'T",
] * 12


def by_bytes(pre, special_first, special_last, plain=(), normalizer=None, ignore_merges=False, size=900):
    """Byte-level BPE: special tokens are the first ids or come after the vocabulary."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=size, special_tokens=special_first, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_last])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in plain])
    return tokenizer


def by_pieces(prefix, special=(), size=900):
    """SentencePiece's BPE with bytes to fall back on."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    first = ["<unk>", "<s>", "</s>", *special]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
    letters = trainers.BpeTrainer(
        vocab_size=size, special_tokens=first + [f"<0x{byte:02X}>" for byte in range(256)], limit_alphabet=80, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, letters)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = document["added_tokens"][: len(first)]
    if prefix == "first":
        document["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    else:
        replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        document["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}
        document["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(document))


def split(pattern):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def llama3():
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = by_bytes(split(LLAMA3), [], special, ignore_merges=True)
    begin = "<|begin_of_text|>"
    tokenizer.post_processor = processors.TemplateProcessing(f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))])
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": begin, "eos_token": "<|eot_id|>"}


def qwen(plain):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = by_bytes(split(QWEN2), [], special, plain, normalizers.NFC())
    config = {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return tokenizer, config


def smollm():
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    named = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>", "pad_token": "<|im_end|>"}
    return by_bytes(pre, special, []), {"tokenizer_class": "GPT2Tokenizer", **named}


def llama2(legacy, prefix="all", special=()):
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return by_pieces(prefix, special), {"tokenizer_class": "LlamaTokenizer", "legacy": legacy, **named}


FAMILIES = {
    "llama3": ("llama", llama3),
    "qwen2": ("qwen2", lambda: qwen(["<tool_call>", "</tool_call>"])),
    "qwen3": ("qwen3", lambda: qwen(["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"])),
    "smollm": ("llama", smollm),
    "llama2": ("llama", lambda: llama2(False)),
    "llama2_legacy": ("llama", lambda: llama2(True)),
    "mistral": ("mistral", lambda: llama2(True)),
    "mistral3": ("mistral", lambda: llama2(False, "first", ["[INST]", "[/INST]", "[TOOL_CALLS]"])),
}


def made(family):
    """Writes a family's files and has transformers read them as it reads any checkpoint."""
    model_type, make = FAMILIES[family]
    folder = os.path.join(FOLDER, family)
    os.makedirs(folder)
    tokenizer, config = make()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    added = json.loads(tokenizer.to_str())["added_tokens"]
    config["added_tokens_decoder"] = {str(token.pop("id")): token for token in added}
    for name, value in [("tokenizer_config.json", config), ("config.json", {"model_type": model_type})]:
        json.dump(value, open(os.path.join(folder, name), "w", encoding="utf-8"))
    return AutoTokenizer.from_pretrained(folder)


def wild(rng):
    """A text that nobody would write."""
    ranges = [(0x20, 0x7F), (0, 0x20), (0xA0, 0x250), (0x300, 0x370), (0x590, 0x700), (0x1F300, 0x1F650), (0x4E00, 0x9FFF), (0x2000, 0x2070)]
    length = rng.randrange(1, 40)
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(length))


def conversation(tokenizer, template, messages, opened):
    """What a template makes of a conversation, or why it does not."""
    messages = [{"role": message["role"], "content": message["content"]} for message in messages]
    arguments = {"chat_template": template, "add_generation_prompt": opened}
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **arguments)
    except Exception as error:
        return {"error": str(error)}
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **arguments)
    safe = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, sanitize_control_tokens=True, **arguments)
    return {"text": text, "ids": ids, "safe": safe}


def answers(family):
    rng = random.Random(family)
    tokenizer = made(family)
    texts = ASKED["texts"] + [wild(rng) for _ in range(300)]
    special = set(tokenizer.all_special_ids)
    read = [
        {
            "text": text,
            "ids": tokenizer(text, add_special_tokens=False)["input_ids"],
            "as_text": tokenizer._encode_without_added_tokens(text),
        }
        for text in texts
    ]
    sequences = [[rng.randrange(len(tokenizer)) for _ in range(rng.randrange(1, 30))] for _ in range(200)]
    decoded = [{"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)} for ids in sequences + [one["ids"] for one in read]]
    conversations = [
        {"template": name, "messages": messages, "opened": opened, **conversation(tokenizer, template, messages, opened)}
        for name, template in ASKED["templates"][family].items()
        for messages in ASKED["conversations"]
        for opened in [False, True]
    ]
    return {"special": sorted(special), "read": read, "decoded": decoded, "conversations": conversations}


out = os.path.join(FOLDER, "answers.json")
json.dump({family: answers(family) for family in FAMILIES}, open(out, "w", encoding="utf-8"))
