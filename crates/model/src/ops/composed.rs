//! The operations as chains of burn's, for any device.

use burn::tensor::{Device, Element, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use crate::{
    kernels::{
        attention::Attention,
        delta::{DeltaMemory, NORM_EPSILON, Rule},
        head::{Goal, Tally, Targets},
        mlp::Activation,
        quiet::Quiet,
        rope::Rope,
    },
    memory::{delta::LinearMemory, fast::Associative, run_batched},
    ops::product::product,
};

pub(crate) fn floats<const D: usize>(values: Vec<impl Element>, shape: [usize; D], like: &Tensor<3>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape.to_vec()), (&like.device(), like.dtype()))
}

fn ints<const D: usize>(values: Vec<i64>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values, shape.to_vec()), device)
}

pub(crate) fn embed(table: Tensor<2>, ids: &[u32], batch: usize) -> Tensor<3> {
    let [_, width] = table.dims();
    let rows = ints(ids.iter().map(|id| i64::from(*id)).collect(), [ids.len()], &table.device());
    table.select(0, rows).reshape([batch, ids.len() / batch, width])
}

pub(crate) fn linear(x: Tensor<3>, w: Tensor<2>) -> Tensor<3> {
    let ([batch, time, width], [_, outputs]) = (x.dims(), w.dims());
    product(x.reshape([batch * time, width]), w).reshape([batch, time, outputs])
}

pub(crate) fn norm(x: Tensor<3>, gain: Tensor<1>, epsilon: f32) -> Tensor<3> {
    let ([batch, time, width], [group]) = (x.dims(), gain.dims());
    let x = x.reshape([batch, time, width / group, group]);
    let scale = (x.clone().powi_scalar(2).mean_dim(3) + epsilon).sqrt().recip();
    (x * scale * gain.reshape([1, 1, 1, group])).reshape([batch, time, width])
}

pub(crate) fn activate(x: Tensor<3>, kind: Activation) -> Tensor<3> {
    match kind {
        Activation::Silu => activation::silu(x),
        Activation::SquaredRelu => activation::relu(x).powi_scalar(2),
    }
}

pub(crate) fn conv(x: Tensor<3>, w: Tensor<2>, silu: bool, tail: Option<Tensor<3>>) -> Tensor<3> {
    let ([batch, time, channels], [taps, _]) = (x.dims(), w.dims());
    let tail = tail.unwrap_or_else(|| Tensor::zeros([batch, taps - 1, channels], (&x.device(), x.dtype())));
    let all = if taps > 1 { Tensor::cat(vec![tail, x], 1) } else { x };
    let tap = |j: usize| all.clone().narrow(1, j, time) * w.clone().narrow(0, j, 1).reshape([1, 1, channels]);
    let sum = (1..taps).fold(tap(0), |sum, j| sum + tap(j));
    if silu { activation::silu(sum) } else { sum }
}

/// `[B, T, heads × width]` as `[B, heads, T, width]`.
fn heads(x: &Tensor<3>, at: usize, heads: usize, width: usize) -> Tensor<4> {
    let [batch, time, _] = x.dims();
    x.clone().narrow(2, at, heads * width).reshape([batch, time, heads, width]).swap_dims(1, 2)
}

/// Rotates heads `[B, H, T, W]`, the first of whose tokens is at `position`.
fn turn(x: Tensor<4>, rope: &Rope, position: usize, like: &Tensor<3>) -> Tensor<4> {
    let [_, _, time, width] = x.dims();
    let half = width / 2;
    // In double precision so that a model of such numbers has such angles.
    let table = |of: fn(f64) -> f64| {
        let frequencies = rope.frequencies(width);
        let angle = |t: usize| frequencies.iter().map(move |f| (position + t) as f64 * f);
        floats((0..time).flat_map(angle).map(of).collect(), [1, 1, time, half], like)
    };
    let (cos, sin) = (table(f64::cos), table(f64::sin));
    let (low, high) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    let turned = [low.clone() * cos.clone() - high.clone() * sin.clone(), low * sin + high * cos];
    Tensor::cat(turned.to_vec(), 3)
}

/// Rotated keys and values that later tokens may see, `[B, G, S, W]`: those of [`Attention::kept`].
pub(crate) type KeysValues = (Tensor<4>, Tensor<4>);

/// Attention of tokens the first of which is at `position`, after the keys and values that were kept of earlier ones; also gives those that are kept now.
pub(crate) fn attention(qkv: Tensor<3>, op: &Attention, position: usize, before: Option<KeysValues>) -> (Tensor<3>, KeysValues) {
    let [batch, time, channels] = qkv.dims();
    let width = channels / (op.heads + 2 * op.kv_heads);
    let turned = |x| match &op.rope {
        Some(rope) => turn(x, rope, position, &qkv),
        None => x,
    };
    let q = turned(heads(&qkv, 0, op.heads, width));
    let mut k = turned(heads(&qkv, op.heads * width, op.kv_heads, width));
    let mut v = heads(&qkv, (op.heads + op.kv_heads) * width, op.kv_heads, width);
    if let Some((keys, values)) = before {
        (k, v) = (Tensor::cat(vec![keys, k], 2), Tensor::cat(vec![values, v], 2));
    }
    let seen = k.dims()[2];
    let each = op.heads / op.kv_heads;
    let spread = |x: &Tensor<4>| {
        let x = x.clone().reshape([batch, op.kv_heads, 1, seen * width]).expand([batch, op.kv_heads, each, seen * width]);
        x.reshape([batch, op.heads, seen, width])
    };
    let scores = product(q, spread(&k).transpose()) * (width as f64).sqrt().recip();
    // Learned tokens are kept from the beginning, and of the others the last.
    let prefix = op.prefix.min(position);
    let place = move |i: usize| if i < prefix { i } else { position + time + i - seen };
    let visible = |t: usize, i: usize| i <= t && (i < op.prefix || op.window.is_none_or(|w| t - i < w));
    let mask = |t: usize| (0..seen).map(move |i| if visible(t, place(i)) { 0.0_f32 } else { -1e9 });
    let mask = (position..position + time).flat_map(mask).collect();
    let p = activation::softmax(scores + floats::<4>(mask, [1, 1, time, seen], &qkv), 3);
    let out = product(p, spread(&v)).swap_dims(1, 2).reshape([batch, time, op.heads * width]);
    (out, (kept(k, op, position + time), kept(v, op, position + time)))
}

/// Of keys or values the rows that are kept of so many tokens.
fn kept(rows: Tensor<4>, op: &Attention, tokens: usize) -> Tensor<4> {
    let (seen, keep) = (rows.dims()[2], op.kept(tokens));
    if keep >= seen {
        return rows;
    }
    let prefix = op.prefix.min(keep);
    let last = rows.clone().narrow(2, seen + prefix - keep, keep - prefix);
    if prefix == 0 { last } else { Tensor::cat(vec![rows.narrow(2, 0, prefix), last], 2) }
}

/// A linear memory whose next token is at `position`, and which goes on from `state`.
pub(crate) fn delta(
    qkv: Tensor<3>,
    gates: Option<Tensor<3>>,
    decay: Option<[Tensor<1>; 2]>,
    op: &DeltaMemory,
    state: &mut Option<Tensor<3>>,
    position: usize,
) -> Tensor<3> {
    let [batch, time, channels] = qkv.dims();
    let (h, key) = (op.heads, op.key);
    let value = channels / h - 2 * key;
    let (q, k) = (heads(&qkv, 0, h, key), heads(&qkv, h * key, h, key));
    let (q, k) = match &op.rule {
        Rule::Retention { rope } => (turn(q, rope, position, &qkv) * (key as f64).sqrt().recip(), turn(k, rope, position, &qkv)),
        Rule::Gated | Rule::Plain { .. } => (unit(q), unit(k)),
    };
    let back = |x: Tensor<4>| x.swap_dims(1, 2).reshape([batch, time, h * key]);
    let ready = Tensor::cat(vec![back(q), back(k), qkv.clone().narrow(2, 2 * h * key, h * value)], 2);
    let strengths = match (op.rule, gates, decay) {
        (Rule::Gated, Some(gates), Some([a_log, dt_bias])) => {
            let logit = gates.clone().narrow(2, h, h) + dt_bias.reshape([1, 1, h]);
            let decay = activation::softplus(logit, 1.0) * -a_log.exp().reshape([1, 1, h]);
            Tensor::cat(vec![activation::sigmoid(gates.narrow(2, 0, h)), decay], 2)
        }
        (Rule::Plain { negative }, Some(gates), _) => {
            let beta = activation::sigmoid(gates) * if negative { 2.0 } else { 1.0 };
            Tensor::cat(vec![beta.clone(), beta.zeros_like()], 2)
        }
        _ => {
            let decays = (0..h).map(|h| op.rule.strengths::<f32>(&[], h, &[], &[]).1);
            let row: Vec<f32> = std::iter::repeat_n(1.0, h).chain(decays).collect();
            floats::<3>(row, [1, 1, 2 * h], &qkv).expand([batch, time, 2 * h])
        }
    };
    run_batched(&LinearMemory { key, value, rule: op.rule }, h, &[ready, strengths], &[], state)
}

fn unit(x: Tensor<4>) -> Tensor<4> {
    x.clone() * (x.powi_scalar(2).sum_dim(3) + NORM_EPSILON).sqrt().recip()
}

/// The fast bank, which goes on from `state`.
pub(crate) fn fast(
    qkv: Tensor<3>,
    gate: Tensor<3>,
    retention: Tensor<1>,
    period: usize,
    state: &mut Option<crate::memory::fast::State<Tensor<3>>>,
) -> Tensor<3> {
    let width = qkv.dims()[2] / 3;
    run_batched(&Associative { width, period }, 1, &[qkv, gate], &[retention.reshape([1, 1])], state)
}

/// `p - p` without the second one's gradient: no value, the gradient of `Σ weight |y|² / 2 normalizer`.
pub(crate) fn quiet(y: &Tensor<3>, penalty: &Quiet) -> Tensor<1> {
    let [batch, time, _] = y.dims();
    let weights = penalty.weights.iter().map(|w| w / (2.0 * penalty.normalizer)).collect();
    let p = (y.clone().powi_scalar(2).sum_dim(2) * floats::<3>(weights, [batch, time, 1], y)).sum();
    p.clone() - p.detach()
}

/// The loss and what it counted; see [`crate::kernels::head::HeadLoss`].
pub(crate) fn loss(hidden: Tensor<3>, head: Tensor<2>, targets: &Targets, normalizer: f32) -> (Tensor<1>, Tally) {
    let [batch, time, width] = hidden.dims();
    let device = hidden.device();
    let [vocab, _] = head.dims();
    let count = targets.rows.len();
    let rows = ints(targets.rows.iter().map(|t| i64::from(t.row)).collect(), [count], &device);
    let picked = hidden.clone().reshape([batch * time, width]).select(0, rows);
    let log_p = activation::log_softmax(product(picked, head.transpose()), 1);
    let weights: Vec<f32> = targets.rows.iter().map(|t| t.weight / normalizer).collect();
    let weights = floats::<2>(weights, [count, 1], &hidden);
    let goals = ints(targets.rows.iter().map(|t| token(t.goal)).collect(), [count, 1], &device);
    let is_token = floats::<2>(
        targets.rows.iter().map(|t| if matches!(t.goal, Goal::Token(_)) { 1.0_f32 } else { 0.0 }).collect(),
        [count, 1],
        &hidden,
    );
    let mut nats = -log_p.clone().gather(1, goals.clone()) * is_token;
    if !targets.teacher.is_empty() {
        nats = nats + divergence(&log_p, targets, &hidden);
    }
    let best = log_p.detach().argmax(1).equal(goals).int();
    let tally = tally(targets, &nats, best);
    debug_assert!(vocab > 0, "a head has a vocabulary");
    ((nats * weights).sum(), tally)
}

fn token(goal: Goal) -> i64 {
    match goal {
        Goal::Token(id) => i64::from(id),
        Goal::Teacher(_) => 0,
    }
}

/// Divergences from teachers, zero in rows with tokens.
fn divergence(log_p: &Tensor<2>, targets: &Targets, like: &Tensor<3>) -> Tensor<2> {
    let [count, vocab] = log_p.dims();
    let mut at = Vec::new();
    let mut said = Vec::new();
    let mut entropy = Vec::new();
    for (row, target) in targets.rows.iter().enumerate() {
        if let Goal::Teacher(n) = target.goal {
            let (p, negative_entropy) = targets.teacher.row(n);
            entropy.push(negative_entropy);
            said.extend_from_slice(p);
            at.push(row as i64);
        }
    }
    let rows = at.len();
    let at = ints(at, [rows], &like.device());
    let cross = (floats::<2>(said, [rows, vocab], like) * log_p.clone().select(0, at.clone())).sum_dim(1);
    let nats = floats::<2>(entropy, [rows, 1], like) - cross;
    Tensor::zeros([count, 1], (&like.device(), like.dtype())).select_assign(0, at, nats, IndexingUpdateOp::Add)
}

fn tally(targets: &Targets, nats: &Tensor<2>, best: Tensor<2, Int>) -> Tally {
    let nats = crate::tensors::floats(nats.clone().detach());
    let best: Vec<i64> = best.into_data().convert::<i64>().try_to_vec().expect("whole numbers, converted");
    let counted = || targets.rows.iter().zip(&best).filter(|(t, _)| t.counted);
    Tally {
        counted: counted().count() as u64,
        right: counted().filter(|(t, best)| **best == 1 && matches!(t.goal, Goal::Token(_))).count() as u64,
        nats: nats.iter().map(|n| f64::from(*n)).sum(),
        rows: targets.rows.len() as u64,
    }
}
