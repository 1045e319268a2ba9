//! Prints an example of every task of the catalog, and how fast they are drawn.

use std::time::Instant;

use nocturne_synthetic::{Part, Task, catalog};

fn main() -> Result<(), nocturne_synthetic::SettingsError> {
    for entry in catalog::all() {
        let task = Task::new(entry.name, entry.setup())?;
        let begun = Instant::now();
        let drawn = task.feed(1).take(200).map(|example| example.ids.len()).sum::<usize>();
        let speed = drawn as f64 / begun.elapsed().as_secs_f64() / 1e6;
        println!("======== {}: {}; {} tokens, {speed:.1} million tokens a second", task.name(), entry.about, task.vocab());
        let example = task.example(Part::Test(0), 1, 0);
        let aims: Vec<_> = example.aims.iter().take(12).map(|aim| format!("{}→{}", aim.position, aim.target)).collect();
        println!("{:?}", &example.ids[..example.ids.len().min(80)]);
        println!("{}", aims.join(" "));
    }
    Ok(())
}
