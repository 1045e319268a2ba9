"""The work of `nocturne bench peers` by PyTorch: argv is a precision and a request, stdout's last line the figures."""
import json, math, sys, time
import torch
import torch.nn.functional as F
from torch import nn

PRECISION = getattr(torch, sys.argv[1])
REQUEST = json.loads(sys.argv[2])
torch.manual_seed(1)


def rate(units, work):
    work()
    begun, runs = time.perf_counter(), 0
    while time.perf_counter() - begun < REQUEST["seconds"]:
        work()
        runs += 1
    return units * runs / (time.perf_counter() - begun)


def token(n, salt, vocab):
    return (n * 7919 + salt * 104729) % vocab


class Decoding:
    def __init__(self):
        from transformers import LlamaForCausalLM

        self.model = LlamaForCausalLM.from_pretrained(REQUEST["checkpoint"], dtype=PRECISION).eval()
        self.vocab = self.model.config.vocab_size

    @torch.inference_mode()
    def read(self, batch, prompt):
        ids = torch.tensor([[token(n, salt, self.vocab) for n in range(prompt)] for salt in range(batch)])
        return self.model(ids, use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def generate(self, said, batch, tokens):
        for n in range(tokens):
            ids = torch.full((batch, 1), token(n, 0, self.vocab))
            said = self.model(ids, past_key_values=said.past_key_values, use_cache=True, logits_to_keep=1)
        return said


class Attention(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.heads, self.head = w["heads"], w["width"] // w["heads"]
        self.qkv = nn.Linear(w["width"], 3 * w["width"], bias=False)
        self.out = nn.Linear(w["width"], w["width"], bias=False)
        angle = torch.outer(torch.arange(w["context"]).float(), 10000.0 ** (-torch.arange(0, self.head, 2) / self.head))
        self.register_buffer("cos", angle.cos().repeat(1, 2))
        self.register_buffer("sin", angle.sin().repeat(1, 2))

    def turn(self, x):
        low, high = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat((-high, low), dim=-1) * self.sin

    def forward(self, x):
        b, t, width = x.shape
        q, k, v = (p.view(b, t, self.heads, self.head).transpose(1, 2) for p in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(self.turn(q), self.turn(k), v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, t, width))


class GatedDelta(nn.Module):
    """The chunked form of arXiv 2412.06464, values twice as wide as keys."""

    CHUNK = 64

    def __init__(self, w):
        super().__init__()
        self.heads, self.key = w["heads"], w["width"] // w["heads"]
        self.value = 2 * self.key
        channels = self.heads * (2 * self.key + self.value)
        self.qkv = nn.Linear(w["width"], channels, bias=False)
        self.conv = nn.Conv1d(channels, channels, 4, groups=channels, padding=3, bias=False)
        self.gates = nn.Linear(w["width"], 2 * self.heads, bias=False)
        self.a_log, self.dt_bias = nn.Parameter(torch.zeros(self.heads)), nn.Parameter(torch.full((self.heads,), -3.0))
        self.gate = nn.Linear(w["width"], self.heads * self.value, bias=False)
        self.norm = nn.RMSNorm(self.value)
        self.out = nn.Linear(self.heads * self.value, w["width"], bias=False)
        lower = torch.ones(self.CHUNK, self.CHUNK).tril()
        self.register_buffer("lower", lower.bool())
        self.register_buffer("strict", lower.tril(-1).bool())

    def forward(self, x):
        b, t, _ = x.shape
        n, c, h = t // self.CHUNK, self.CHUNK, self.heads
        qkv = F.silu(self.conv(self.qkv(x).transpose(1, 2))[..., :t].transpose(1, 2))
        parts = qkv.split([h * self.key, h * self.key, h * self.value], dim=-1)
        q, k, v = (p.view(b, n, c, h, -1).permute(0, 3, 1, 2, 4) for p in parts)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        beta, dt = (g.view(b, n, c, h).permute(0, 3, 1, 2) for g in self.gates(x).chunk(2, dim=-1))
        beta = beta.sigmoid().unsqueeze(-1)
        gamma = (-(self.a_log.exp() * F.softplus(dt.permute(0, 2, 3, 1) + self.dt_bias)).permute(0, 3, 1, 2)).cumsum(-1)
        decay = (gamma.unsqueeze(-1) - gamma.unsqueeze(-2)).masked_fill(~self.lower, -torch.inf).exp()
        a = ((beta * k) @ k.transpose(-1, -2) * decay).masked_fill(~self.strict, 0.0)
        now = gamma.exp().unsqueeze(-1)
        right = torch.cat((beta * v, beta * k * now), dim=-1)
        # The triangular solver has no bfloat16.
        solved = torch.linalg.solve_triangular(a.float() + torch.eye(c), right.float(), upper=False, unitriangular=True).to(right.dtype)
        u, w = solved.split([self.value, self.key], dim=-1)
        scores = q @ k.transpose(-1, -2) * decay
        to_end = (gamma[..., -1:] - gamma).exp().unsqueeze(-1)
        state, outputs = u.new_zeros(b, h, self.key, self.value), []
        for i in range(n):
            new = u[:, :, i] - w[:, :, i] @ state
            outputs.append((q[:, :, i] * now[:, :, i]) @ state + scores[:, :, i] @ new)
            state = state * now[:, :, i, -1:] + (k[:, :, i] * to_end[:, :, i]).transpose(-1, -2) @ new
        y = torch.stack(outputs, dim=2).permute(0, 2, 3, 1, 4).reshape(b, t, h, self.value)
        return self.out((self.norm(y).reshape(b, t, -1)) * F.silu(self.gate(x)))


class Block(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(w["width"]) for _ in range(2))
        self.mixer = {"attention": Attention, "gated-delta": GatedDelta}[w["architecture"]](w)
        self.up = nn.Linear(w["width"], 2 * w["hidden"], bias=False)
        self.down = nn.Linear(w["hidden"], w["width"], bias=False)

    def forward(self, x):
        x = x + self.mixer(self.norms[0](x))
        gate, up = self.up(self.norms[1](x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.embed = nn.Embedding(w["vocab"], w["width"])
        self.blocks = nn.Sequential(*(Block(w) for _ in range(w["blocks"])))
        self.norm = nn.RMSNorm(w["width"])
        self.head = nn.Linear(w["width"], w["vocab"], bias=False)

    def forward(self, ids):
        return self.head(self.norm(self.blocks(self.embed(ids))))

    @torch.no_grad()
    def load(self, w):
        """The weights that the program which is compared begins with, whose matrices are `[in, out]`."""
        from safetensors.torch import load_file

        given = load_file(f"{REQUEST['checkpoint']}/train-{w['architecture']}.safetensors")
        take = lambda name: given.pop(name).float()
        matrix = lambda name: take(name).T
        put = lambda parameter, value: parameter.copy_(value)
        put(self.embed.weight, take("embed")), put(self.norm.weight, take("norm")), put(self.head.weight, take("head"))
        for n, block in enumerate(self.blocks):
            at, mixer = f"blocks.{n}.", block.mixer
            put(block.norms[0].weight, take(at + "mixer_norm")), put(block.norms[1].weight, take(at + "cms_norm"))
            put(block.up.weight, torch.cat((matrix(at + "cms.frozen.gate"), matrix(at + "cms.frozen.up"))))
            put(block.down.weight, matrix(at + "cms.frozen.down"))
            put(mixer.qkv.weight, matrix(at + "mixer.qkv")), put(mixer.out.weight, matrix(at + "mixer.out"))
            if isinstance(mixer, GatedDelta):
                put(mixer.conv.weight, matrix(at + "mixer.conv").unsqueeze(1)), put(mixer.gates.weight, matrix(at + "mixer.gates"))
                put(mixer.gate.weight, matrix(at + "mixer.gate")), put(mixer.norm.weight, take(at + "mixer.norm"))
                put(mixer.a_log, take(at + "mixer.a_log")), put(mixer.dt_bias, take(at + "mixer.dt_bias"))
        assert not given, f"nothing is done with {list(given)}"


def train(w):
    model = Model(w)
    model.load(w)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [{"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([{"params": matrices}] + others, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    ids = torch.tensor([[token(n, salt, w["vocab"]) for n in range(w["context"])] for salt in range(w["rows"])])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=PRECISION is torch.bfloat16):
        first = model(ids[:1])[0, -1].float().tolist()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=PRECISION is torch.bfloat16):
            logits = model(ids)[:, :-1]
        F.cross_entropy(logits.reshape(-1, w["vocab"]).float(), ids[:, 1:].reshape(-1)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return rate(ids.numel(), step), first


def measure(work, decoding):
    if work["do"] == "train":
        return train(work)
    if decoding[0] is None:
        decoding[0] = Decoding()
    batch, prompt = work["batch"], work["prompt"]
    first = lambda said: said.logits[0, -1].float().tolist()
    if work["do"] == "read":
        return rate(batch * prompt, lambda: decoding[0].read(batch, prompt)), first(decoding[0].read(batch, prompt))
    tokens = work["tokens"]

    def generate():
        read = decoding[0].read(batch, prompt)
        begun = time.perf_counter()
        decoding[0].generate(read, batch, tokens)
        return time.perf_counter() - begun

    said = first(decoding[0].generate(decoding[0].read(batch, prompt), batch, tokens))
    begun, seconds, runs = time.perf_counter(), 0.0, 0
    while time.perf_counter() - begun < 2 * REQUEST["seconds"]:
        seconds += generate()
        runs += 1
    return batch * tokens * runs / seconds, said


decoding = [None]
figures, logits = [], []
for work in REQUEST["works"]:
    figure, first = measure(work, decoding)
    figures.append(figure)
    logits.append(first)
import importlib.metadata as metadata

name = f"PyTorch {metadata.version('torch')}, transformers {metadata.version('transformers')}, {sys.argv[1]}"
rounding = torch.finfo(PRECISION).eps
print(json.dumps({"program": name, "tokens_per_second": figures, "first_logits": logits, "rounding": rounding}))
