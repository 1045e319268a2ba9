"""Trains a tiny Llama on two conversations, saves it as a checkpoint, and says what transformers answers in each.

Arguments: a folder for the checkpoint, and JSON of the conversations. Prints JSON: the answers by conversation and turn.
"""

import json
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FOLDER, TALKS = sys.argv[1], json.loads(sys.argv[2])
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

made = Tokenizer(models.BPE())
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
texts = [message["content"] for talk in TALKS for message in talk] * 4
made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet))
fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=SPECIAL[2], pad_token=SPECIAL[0], chat_template=TEMPLATE)
fast.save_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)

torch.manual_seed(1)
ends = tokenizer.convert_tokens_to_ids(SPECIAL[2])
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=256, tie_word_embeddings=True, eos_token_id=ends, bos_token_id=None, pad_token_id=0,
)
model = LlamaForCausalLM(config)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
rows = [torch.tensor([tokenizer.apply_chat_template(talk, tokenize=True, return_dict=False)]) for talk in TALKS]
for _ in range(150):
    loss = sum(model(row, labels=row).loss for row in rows)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model = model.to(torch.bfloat16)
model.save_pretrained(FOLDER)
model = model.float().eval()


def answer(messages):
    ids = torch.tensor([tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=False)])
    said = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, eos_token_id=ends, pad_token_id=0)
    return tokenizer.decode(said[0, ids.shape[1]:], skip_special_tokens=True)


answers = [[answer(talk[:turn]) for turn in range(1, len(talk), 2)] for talk in TALKS]
print(json.dumps(answers))
