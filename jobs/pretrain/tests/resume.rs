//! A tiny base, trained whole, interrupted and in stages.

use std::{fs, path::Path};

use nocturne_model::{
    DeviceName, ModelConfig, presets,
    tensors::{self, Precision},
};
use nocturne_pretrain::{Begin, Recipe, train};

const RECIPE: &str = include_str!("../recipes/base.toml");
const SECOND: &str = include_str!("../recipes/base-2.toml");

/// The shipped recipe with a model and a run of seconds.
fn tiny() -> Recipe {
    let mut recipe: Recipe = toml::from_str(RECIPE).expect("the shipped recipe is valid");
    (recipe.steps, recipe.tokens_a_step, recipe.warm_up_steps, recipe.checkpoint_every_steps) = (6, 300, 2, 3);
    (recipe.tokenizer_conversations, recipe.rehearsal_conversations) = (200, 20);
    recipe.model = ModelConfig { vocab: 400, width: 32, ..recipe.model };
    recipe.model.blocks.truncate(2);
    for (block, mixer) in recipe.model.blocks.iter_mut().zip(["gated-delta", "attention"]) {
        block.mixer = presets::mixer(mixer, 32, 2).expect("a known mixer");
    }
    recipe
}

#[test]
fn the_second_stage_of_what_ships_fits_the_first() {
    let [first, second] = [RECIPE, SECOND].map(|text| toml::from_str::<Recipe>(text).expect("the shipped recipe is valid"));
    assert_eq!(first.model, second.model);
    assert_ne!(first.seed, second.seed, "other conversations");
    let shipped: ModelConfig =
        serde_json::from_slice(&nocturne_model::Base::shipped_files()["config.json"]).expect("a configuration");
    assert_eq!(shipped, first.model);
    [first, second].iter().for_each(|recipe| recipe.corpus.check().expect("conversations can be drawn"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in fs::read_dir(from).expect("readable").filter_map(Result::ok) {
        fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_base() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let recipe = tiny();
    let summary = train(&recipe, &whole, Begin::Fresh, &mut |progress| {
        if progress.step == 5 {
            copy(&whole, &cut);
        }
    });
    assert_eq!(summary.expect("trained").steps, 6);
    let resumed = train(&recipe, &cut, Begin::Resume, &mut |_| ()).expect("resumed");
    assert_eq!(resumed.steps, 6);
    let model = |folder: &Path| fs::read(folder.join("model.safetensors")).expect("a model");
    assert!(model(&whole) == model(&cut), "the interruption changed the base");
}

#[test]
fn a_stage_begins_with_the_base_before_it_and_what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let recipe = tiny();
    train(&recipe, &first, Begin::Fresh, &mut |_| ()).expect("trained");
    train(&recipe, &second, Begin::From(&first), &mut |_| ()).expect("a second stage");
    let tokenizer = |folder: &Path| fs::read(folder.join("tokenizer.json")).expect("a tokenizer");
    assert!(tokenizer(&first) == tokenizer(&second), "a stage keeps the tokenizer");

    let mut wider = tiny();
    wider.model.width = 48;
    assert!(train(&wider, &folder.path().join("third"), Begin::From(&first), &mut |_| ()).is_err());
    let nothing = train(&recipe, &folder.path().join("empty"), Begin::Resume, &mut |_| ()).expect_err("nothing to resume");
    assert!(nothing.to_string().contains("checkpoint.bin"), "{nothing}");
}

#[test]
fn a_device_that_is_not_there_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut recipe = tiny();
    recipe.device = DeviceName::Cuda(999);
    let refused = train(&recipe, folder.path(), Begin::Fresh, &mut |_| ()).expect_err("no machine has so many");
    let why = std::error::Error::source(&refused).expect("a reason").to_string();
    assert!(why.contains("cuda:999"), "{why}");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
}

type Spoil = fn(&mut Recipe);

#[test]
fn a_recipe_that_no_run_could_follow_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let faults: [(Spoil, &str); 5] = [
        (|recipe| recipe.checkpoint_every_steps = 0, "`checkpoint_every_steps` is 0"),
        (|recipe| recipe.muon.momentum = 1.0, "`muon.momentum` is 1; it must lie between 0 and 0.9999"),
        (|recipe| recipe.adam_rate = f64::NAN, "`adam_rate` is NaN"),
        (|recipe| recipe.decay_from = 1.5, "`decay_from` is 1.5"),
        (|recipe| recipe.weights.user = -1.0, "`weights`"),
    ];
    for (spoil, why) in faults {
        let mut recipe = tiny();
        spoil(&mut recipe);
        let refused = train(&recipe, folder.path(), Begin::Fresh, &mut |_| ()).expect_err("refused").to_string();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    train(&tiny(), &first, Begin::Fresh, &mut |_| ()).expect("trained");
    let file = first.join("model.safetensors");
    let mut model = tensors::read("the base", &fs::read(&file).expect("a model")).expect("tensors");
    model.get_mut("norm").expect("a norm").data.fill(f32::MAX);
    fs::write(&file, tensors::write_as("the base", &model, Precision::Single).expect("a file")).expect("written");
    let diverged = train(&tiny(), &second, Begin::From(&first), &mut |_| ()).expect_err("no number").to_string();
    assert!(diverged.contains("the loss of step 1 is"), "{diverged}");
    assert!(!second.join("model.safetensors").exists());
}
