use serde_json::json;

use super::*;

fn read(json: &Value) -> Result<Foreign, ImportError> {
    let files = [(CONFIG.to_owned(), json.to_string().into_bytes())];
    Foreign::read(&files.into())
}

fn small(family: &str, more: Value) -> Result<Foreign, ImportError> {
    let mut json = json!({"model_type": family, "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 128});
    let (Value::Object(all), Value::Object(more)) = (&mut json, more) else { panic!("objects") };
    all.extend(more);
    read(&json)
}

fn refusal(family: &str, more: Value) -> String {
    small(family, more).unwrap_err().to_string()
}

#[test]
fn what_is_left_out_is_what_transformers_takes() {
    let llama = read(&json!({"model_type": "llama"})).unwrap();
    assert_eq!((llama.vocab, llama.width, llama.layers, llama.heads, llama.kv_heads), (32_000, 4096, 32, 32, 32));
    assert_eq!((llama.head_width, llama.mlp_hidden, llama.max_context, llama.tied), (128, 11_008, 2048, false));
    assert_eq!(llama.rope, Rope { theta: 10_000.0, scaling: RopeScaling::None });
    assert!(!(llama.qkv_bias || llama.out_bias || llama.mlp_bias || llama.qk_norm));
    let qwen = read(&json!({"model_type": "qwen2"})).unwrap();
    assert_eq!((qwen.vocab, qwen.mlp_hidden, qwen.kv_heads, qwen.max_context), (151_936, 22_016, 32, 32_768));
    assert!(qwen.qkv_bias && !qwen.out_bias && qwen.windows.iter().all(Option::is_none));
    let mistral = read(&json!({"model_type": "mistral"})).unwrap();
    assert_eq!((mistral.kv_heads, mistral.max_context, mistral.windows[0]), (8, 131_072, Some(4096)));
    let qwen =
        read(&json!({"model_type": "qwen3", "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8})).unwrap();
    assert!(qwen.qk_norm && !qwen.qkv_bias && qwen.head_width == 128);
    assert_eq!(small("qwen3", json!({"num_key_value_heads": null, "head_dim": null})).unwrap().kv_heads, 4);
}

#[test]
fn biases_are_those_of_the_family() {
    let bias = json!({"attention_bias": true, "mlp_bias": true});
    let llama = small("llama", bias.clone()).unwrap();
    assert!(llama.qkv_bias && llama.out_bias && llama.mlp_bias);
    let qwen = small("qwen3", bias.clone()).unwrap();
    assert!(qwen.qkv_bias && qwen.out_bias && !qwen.mlp_bias);
    let mistral = small("mistral", bias).unwrap();
    assert!(!(mistral.qkv_bias || mistral.out_bias || mistral.mlp_bias));
}

#[test]
fn both_spellings_of_rotary_positions_are_read() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
    let expected = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position: 64.0 };
    let old = small("llama", json!({"rope_theta": 500_000.0, "rope_scaling": llama3})).unwrap();
    assert_eq!(old.rope, Rope { theta: 500_000.0, scaling: expected });
    let mut parameters = llama3;
    parameters["rope_theta"] = 500_000.into();
    assert_eq!(small("llama", json!({"rope_parameters": parameters})).unwrap().rope, old.rope);
    parameters.as_object_mut().unwrap().remove("original_max_position_embeddings");
    let RopeScaling::Llama3 { original_max_position, .. } =
        small("llama", json!({"rope_parameters": parameters})).unwrap().rope.scaling
    else {
        panic!("llama3")
    };
    assert!((original_max_position - 128.0).abs() < 1e-9, "the longest context is the original one where nothing is said");
    let linear = small("qwen2", json!({"rope_scaling": {"type": "linear", "factor": 2}, "rope_theta": 1e6})).unwrap();
    assert_eq!(linear.rope, Rope { theta: 1e6, scaling: RopeScaling::Linear { factor: 2.0 } });
    let none =
        small("llama", json!({"rope_scaling": null, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}})).unwrap();
    assert_eq!(none.rope, Rope { theta: 7.0, scaling: RopeScaling::None });
}

#[test]
fn windows_are_those_of_the_layers() {
    let windows = |family, more| small(family, more).unwrap().windows;
    assert_eq!(windows("mistral", json!({"sliding_window": null})), [None; 3]);
    assert_eq!(windows("mistral", json!({"sliding_window": 16})), [Some(16); 3]);
    assert_eq!(windows("llama", json!({"sliding_window": 16})), [None; 3]);
    assert_eq!(windows("qwen2", json!({"sliding_window": 16, "max_window_layers": 1})), [None; 3]);
    let some = json!({"use_sliding_window": true, "sliding_window": 16, "max_window_layers": 1});
    assert_eq!(windows("qwen2", some), [None, Some(16), Some(16)]);
    let kinds = json!({"use_sliding_window": true, "layer_types": ["sliding_attention", "full_attention", "full_attention"]});
    assert_eq!(windows("qwen3", kinds), [Some(4096), None, None]);
    assert_eq!(windows("qwen3", json!({"layer_types": ["full_attention", "full_attention", "full_attention"]})), [None; 3]);
    assert!(
        refusal("qwen3", json!({"layer_types": ["sliding_attention", "sliding_attention", "sliding_attention"]}))
            .contains("no width")
    );
    assert!(refusal("qwen3", json!({"layer_types": ["full_attention", "full_attention"]})).contains("names the kinds of 2"));
    assert!(
        refusal("qwen3", json!({"layer_types": ["linear_attention", "linear_attention", "linear_attention"]}))
            .contains("supported: full_attention, sliding_attention")
    );
    assert!(
        refusal("mistral", json!({"layer_types": ["full_attention", "sliding_attention", "full_attention"]}))
            .contains("layer_types")
    );
    assert!(refusal("mistral", json!({"sliding_window": 0})).contains("sliding_window"));
}

#[test]
fn what_would_answer_otherwise_is_refused_with_what_would_not() {
    for (family, more, found, supported) in [
        ("llama", json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}), "quantized by `gptq`", "bf16, f16 or f32"),
        ("llama", json!({"hidden_act": "gelu"}), "activation `gelu`", "supported: silu"),
        ("llama", json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "type `yarn`", "default, linear and llama3"),
        ("qwen2", json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}}), "type `dynamic`", "default, linear and llama3"),
        ("qwen2", json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}), "differ by layer", "every layer"),
        ("llama", json!({"partial_rotary_factor": 0.5}), "rotated in part", "rotated whole"),
        (
            "llama",
            json!({"architectures": ["LlamaForSequenceClassification"]}),
            "`LlamaForSequenceClassification`",
            "LlamaForCausalLM",
        ),
        ("mistral", json!({"num_local_experts": 8}), "mixture of experts", "every weight"),
        ("qwen3_moe", json!({}), "model type `qwen3_moe`", "qwen3, mistral"),
        ("smollm3", json!({}), "model type `smollm3`", "SmolLM 1 and 2"),
    ] {
        let said = refusal(family, more);
        assert!(said.contains(found) && said.contains(supported), "{said}");
    }
}

#[test]
fn contradictions_are_named() {
    for (more, why) in [
        (json!({"num_key_value_heads": 3}), "4 heads of queries cannot share 3"),
        (json!({"num_attention_heads": 0}), "`num_attention_heads` is 0"),
        (json!({"hidden_size": 1_000_000}), "`hidden_size` is 1000000; 1 to 65536"),
        (json!({"num_hidden_layers": 1_000_000_000_u64}), "are beyond what is supported"),
        (json!({"head_dim": 7}), "a head of 7 channels"),
        (json!({"hidden_size": "x"}), "`hidden_size` is not a whole number"),
        (json!({"rms_norm_eps": 0}), "`rms_norm_eps` is 0"),
        (json!({"rope_theta": -1}), "`rope_theta` is -1"),
        (json!({"rope_scaling": {"type": "linear"}}), "of type linear lack `factor`"),
        (json!({"rope_scaling": {"type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 1}}), "is not above"),
        (json!({"model_type": null}), "no `model_type`"),
    ] {
        let said = refusal("llama", more);
        assert!(said.contains(why), "{said}");
    }
    let absent = Foreign::read(&Files::new()).unwrap_err().to_string();
    assert!(absent.contains("no config.json"), "{absent}");
    let files = [(CONFIG.to_owned(), b"{".to_vec())];
    assert_eq!(Foreign::read(&files.into()).unwrap_err().to_string(), "read the checkpoint's config.json");
}
