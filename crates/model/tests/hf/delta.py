"""What transformers' own recurrence of the gated delta rule (Qwen3-Next) says, and the gradients that PyTorch finds through it.

Prints JSON: the inputs, and by rule the output and the gradients of its weighted sum.
"""

import json
import sys

import torch
import torch.nn.functional as F
from transformers.models.qwen3_next.modeling_qwen3_next import torch_recurrent_gated_delta_rule

TIME, HEADS, KEY, VALUE = 100, 2, 8, 12


def said(qkv, gates, a_log, dt_bias, weights, rule):
    inputs = [x.clone().requires_grad_() for x in (qkv, gates, a_log, dt_bias)]
    qkv, gates, a_log, dt_bias = inputs
    q, k, v = qkv.split([HEADS * KEY, HEADS * KEY, HEADS * VALUE], dim=-1)
    q, k, v = (x.view(1, TIME, HEADS, -1) for x in (q, k, v))
    write, decay = gates.view(1, TIME, 2, HEADS).unbind(2)
    beta, g = write.sigmoid(), torch.zeros_like(decay)
    if rule == "negative":
        beta = 2 * beta
    if rule == "gated":
        g = -a_log.exp() * F.softplus(decay + dt_bias)
    output, _ = torch_recurrent_gated_delta_rule(q, k, v, g=g, beta=beta, use_qk_l2norm_in_kernel=True)
    # It divides queries by the root of their width, which is a constant that norms behind it take out again.
    output = output * KEY**0.5
    (output * weights).sum().backward()
    gradients = [(x.grad if x.grad is not None else torch.zeros_like(x)).flatten().tolist() for x in inputs]
    return {"output": output.flatten().tolist(), "gradients": gradients}


torch.manual_seed(7)
qkv, gates = torch.randn(1, TIME, HEADS * (2 * KEY + VALUE)), torch.randn(1, TIME, 2 * HEADS)
a_log, dt_bias = torch.randn(HEADS) * 0.5, torch.randn(HEADS) - 2
weights = torch.randn(1, TIME, HEADS, VALUE)
given = {name: x.flatten().tolist() for name, x in dict(qkv=qkv, gates=gates, a_log=a_log, dt_bias=dt_bias, weights=weights).items()}
rules = {rule: said(qkv, gates, a_log, dt_bias, weights, rule) for rule in ("gated", "plain", "negative")}
json.dump({"given": given, "rules": rules}, sys.stdout)
