use safetensors::tensor::TensorView;
use serde_json::json;

use super::*;

/// Name, extents and type of a tensor of zeros.
type Made = (String, Vec<usize>, Dtype);

fn small() -> Foreign {
    let config = json!({"model_type": "qwen2", "vocab_size": 6, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 3, "tie_word_embeddings": true});
    Foreign::read(&Files::from([("config.json".to_owned(), config.to_string().into_bytes())])).unwrap()
}

fn file(tensors: &[(&str, Vec<usize>, Dtype)]) -> Vec<u8> {
    let width = |dtype: Dtype| dtype.bitsize() / 8;
    let data: Vec<Vec<u8>> =
        tensors.iter().map(|(_, shape, dtype)| vec![0; shape.iter().product::<usize>() * width(*dtype)]).collect();
    let views = tensors
        .iter()
        .zip(&data)
        .map(|((name, shape, dtype), data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn whole(foreign: &Foreign) -> Vec<Made> {
    layout(foreign, false).into_iter().map(|(name, shape)| (name, shape, Dtype::BF16)).collect()
}

fn named(tensors: &[Made]) -> Vec<(&str, Vec<usize>, Dtype)> {
    tensors.iter().map(|(name, shape, dtype)| (&**name, shape.clone(), *dtype)).collect()
}

fn single(tensors: &[Made]) -> Files {
    Files::from([(SINGLE.to_owned(), file(&named(tensors)))])
}

/// Two shards with an index.
fn sharded(tensors: &[Made]) -> Files {
    let (a, b) = tensors.split_at(tensors.len() / 2);
    let shards = [("a.safetensors", a), ("b.safetensors", b)];
    let map: BTreeMap<&str, &str> =
        shards.iter().flat_map(|(shard, tensors)| tensors.iter().map(move |(name, _, _)| (&**name, *shard))).collect();
    let mut files: Files = shards.iter().map(|(shard, tensors)| ((*shard).to_owned(), file(&named(tensors)))).collect();
    files.insert(INDEX.to_owned(), json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string().into_bytes());
    files
}

fn opened(files: Files) -> Result<Checkpoint<Files>, String> {
    Checkpoint::open(files).map_err(|error| error.to_string())
}

#[test]
fn one_file_and_shards_hold_the_same_tensors() {
    let foreign = small();
    let tensors = whole(&foreign);
    for files in [single(&tensors), sharded(&tensors)] {
        let checkpoint = Checkpoint::open(files).unwrap();
        checkpoint.check(&foreign).unwrap();
        assert_eq!(checkpoint.names().count(), tensors.len());
        assert_eq!(checkpoint.tensor("model.norm.weight").unwrap(), Values { shape: vec![4], data: vec![0.0; 4] });
    }
}

#[test]
fn numbers_of_three_types_are_read() {
    let wanted = [1.5_f32, -0.25, 3.0, 65_504.0];
    let data = [
        (Dtype::F32, wanted.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()),
        (Dtype::F16, wanted.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect()),
        (Dtype::BF16, [1.5_f32, -0.25, 3.0, 65_536.0].iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()),
    ];
    for (dtype, bytes) in data {
        let view = TensorView::new(dtype, vec![2, 2], &bytes).unwrap();
        let file = safetensors::serialize([("x", view)], None).unwrap();
        let read = Checkpoint::open(Files::from([(SINGLE.to_owned(), file)])).unwrap().tensor("x").unwrap();
        assert_eq!((read.shape, &read.data[..3]), (vec![2, 2], &wanted[..3]));
        assert!((read.data[3] - 65_536.0).abs() <= 32.0);
    }
    let bytes = f32::NAN.to_le_bytes();
    let file = safetensors::serialize([("x", TensorView::new(Dtype::F32, vec![1], &bytes).unwrap())], None).unwrap();
    let checkpoint = Checkpoint::open(Files::from([(SINGLE.to_owned(), file)])).unwrap();
    assert!(matches!(checkpoint.tensor("x"), Err(ModelError::NotFinite { .. })));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let foreign = small();
    let said = |change: fn(&mut Vec<Made>)| {
        let mut tensors = whole(&foreign);
        change(&mut tensors);
        Checkpoint::open(single(&tensors)).unwrap().check(&foreign).unwrap_err().to_string()
    };
    assert_eq!(said(|tensors| drop(tensors.remove(0))), "the checkpoint lacks the tensor `model.embed_tokens.weight`");
    assert!(said(|tensors| tensors.push(("x".into(), vec![1], Dtype::F32))).contains("holds the tensor `x`"));
    assert!(said(|tensors| tensors[0].1 = vec![6, 5]).contains("is of shape [6, 5], shape [6, 4] is needed"));
    assert!(said(|tensors| tensors[0].2 = Dtype::F8_E4M3).contains("is of type F8_E4M3, BF16, F16, F32 is needed"));
    assert!(said(|tensors| tensors[0].2 = Dtype::I8).contains("is of type I8"));
}

#[test]
fn a_matrix_of_scores_counts_where_it_is_and_tables_of_rotations_nowhere() {
    let foreign = small();
    let mut tensors = whole(&foreign);
    tensors.push((HEAD.to_owned(), vec![6, 4], Dtype::F32));
    tensors.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![1], Dtype::F64));
    Checkpoint::open(single(&tensors)).unwrap().check(&foreign).unwrap();
    let untied = Foreign { tied: false, ..foreign };
    let lacks = Checkpoint::open(single(&whole(&small()))).unwrap().check(&untied).unwrap_err();
    assert_eq!(lacks.to_string(), "the checkpoint lacks the tensor `lm_head.weight`");
}

#[test]
fn shards_that_contradict_their_index_are_refused() {
    let tensors = whole(&small());
    let files = sharded(&tensors);
    let with = |name: &str, bytes: Option<Vec<u8>>| {
        let mut files = files.clone();
        match bytes {
            Some(bytes) => drop(files.insert(name.to_owned(), bytes)),
            None => drop(files.remove(name)),
        }
        opened(files).unwrap_err()
    };
    assert!(with("b.safetensors", None).contains("no b.safetensors: the index says that it holds tensors"));
    assert!(with("b.safetensors", Some(file(&[]))).contains("b.safetensors lacks the tensor"));
    let more = [(&*tensors[0].0, vec![1], Dtype::F32)];
    assert!(
        with("b.safetensors", Some(file(&[&named(&tensors[tensors.len() / 2..])[..], &more].concat())))
            .contains("does not list there")
    );
    for name in ["../b.safetensors", "/b.safetensors", "b.bin", ".safetensors", "c:b.safetensors", "x\\b.safetensors"] {
        let index = json!({"weight_map": {"x": name}}).to_string().into_bytes();
        assert!(with(INDEX, Some(index)).contains("no safetensors file beside it"), "{name}");
    }
    assert!(with(INDEX, Some(b"{\"weight_map\": {}}".to_vec())).contains("lists no tensors"));
    assert!(with(INDEX, Some(b"{}".to_vec())).contains("read the checkpoint's model.safetensors.index.json"));
}

#[test]
fn files_that_are_cut_or_hold_something_else_are_refused() {
    let whole = file(&named(&whole(&small())));
    for (bytes, why) in [
        (whole[..whole.len() - 1].to_vec(), "an unfinished download?"),
        (whole[..4].to_vec(), "no header"),
        (whole[..40].to_vec(), "is not within its 40"),
        ([&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "is not within"),
        ([&2_u64.to_le_bytes()[..], b"[]"].concat(), "(its header)"),
    ] {
        let said = opened(Files::from([(SINGLE.to_owned(), bytes)])).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn weights_in_other_formats_are_told_what_is_read() {
    let said = opened(Files::from([("pytorch_model.bin".to_owned(), Vec::new())])).unwrap_err();
    assert!(said.starts_with("weights in pytorch_model.bin is not supported; supported: model.safetensors"), "{said}");
    assert!(opened(Files::new()).unwrap_err().contains("no model.safetensors"));
}
