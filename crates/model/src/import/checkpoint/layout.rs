//! What the tensors of a foreign decoder are called.

use std::collections::BTreeMap;

use crate::import::config::Foreign;

/// The matrix of scores, where the embedding's does not serve.
pub const HEAD: &str = "lm_head.weight";

/// Names and extents of all tensors, row-major, as transformers saves them; `head` says that the checkpoint has a matrix of scores although it need not.
pub fn layout(foreign: &Foreign, head: bool) -> BTreeMap<String, Vec<usize>> {
    let Foreign { vocab, width, mlp_hidden, head_width, .. } = *foreign;
    let (queries, keys) = (foreign.heads * head_width, foreign.kv_heads * head_width);
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| drop(tensors.insert(name, shape.to_vec()));
    add("model.embed_tokens.weight".into(), &[vocab, width]);
    add("model.norm.weight".into(), &[width]);
    if head || !foreign.tied {
        add(HEAD.into(), &[vocab, width]);
    }
    for layer in 0..foreign.layers {
        let projections = [
            ("self_attn.q_proj", queries, width, foreign.qkv_bias),
            ("self_attn.k_proj", keys, width, foreign.qkv_bias),
            ("self_attn.v_proj", keys, width, foreign.qkv_bias),
            ("self_attn.o_proj", width, queries, foreign.out_bias),
            ("mlp.gate_proj", mlp_hidden, width, foreign.mlp_bias),
            ("mlp.up_proj", mlp_hidden, width, foreign.mlp_bias),
            ("mlp.down_proj", width, mlp_hidden, foreign.mlp_bias),
        ];
        for (name, outputs, inputs, bias) in projections {
            add(format!("model.layers.{layer}.{name}.weight"), &[outputs, inputs]);
            if bias {
                add(format!("model.layers.{layer}.{name}.bias"), &[outputs]);
            }
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(format!("model.layers.{layer}.{norm}.weight"), &[width]);
        }
        if foreign.qk_norm {
            for norm in ["q_norm", "k_norm"] {
                add(format!("model.layers.{layer}.self_attn.{norm}.weight"), &[head_width]);
            }
        }
    }
    tensors
}
