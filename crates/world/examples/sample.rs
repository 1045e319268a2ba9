//! Prints sample conversations of each task, then a part of a day.

use std::{collections::HashMap, time::Instant};

use nocturne_world::{Corpus, CorpusConfig, Day, DayConfig, Task, conversation::Conversation, draw::rng_for};

fn main() {
    let seed = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let corpus = Corpus::new(seed, CorpusConfig::default());
    let mut rng = rng_for(seed, 0);
    for task in Task::ALL {
        println!("======== {task:?}");
        for _ in 0..10 {
            print(&corpus.sample_task(&mut rng, task));
        }
    }
    let start = Instant::now();
    let all: Vec<Conversation> = (0..20_000).map(|i| corpus.conversation(i)).collect();
    let seconds = start.elapsed().as_secs_f64();
    let mut words: HashMap<Task, (usize, usize, usize)> = HashMap::new();
    for conversation in &all {
        let entry = words.entry(conversation.task).or_default();
        *entry = (entry.0 + 1, entry.1 + conversation.words(), entry.2.max(conversation.words()));
    }
    for task in Task::ALL {
        let (count, sum, max) = words[&task];
        println!("{task:?}: {count} conversations, {:.1} words on average, at most {max}", sum as f64 / count as f64);
    }
    let total: usize = all.iter().map(Conversation::words).sum();
    println!("{:.1} words on average, {:.0} conversations a second", total as f64 / 20_000.0, 20_000.0 / seconds);
    print_day(seed);
}

fn print(conversation: &Conversation) {
    println!("--");
    for turn in &conversation.turns {
        println!("{:>9?} {:<15} {}", turn.speaker, format!("{:?}", turn.kind), turn.text);
    }
}

fn print_day(seed: u64) {
    let day = Day::draw(seed, &DayConfig::default());
    println!("======== day: {} interactions, {} lessons", day.interactions(), day.lessons.len());
    for session in day.sessions.iter().take(25) {
        println!("-- {} {} store={}", session.id, session.subject, session.store);
        for turn in &session.turns {
            println!(
                "  {:<10} {}  {}",
                format!("{:?}", turn.kind),
                turn.text,
                turn.feedback.as_ref().map_or(String::new(), |f| format!("{f:?}"))
            );
        }
    }
    for (group, sessions) in day.exam.groups() {
        let questions: usize = sessions.iter().map(|s| s.questions.len()).sum();
        println!("======== exam {group}: {questions} questions in {} sessions", sessions.len());
        for session in sessions.iter().take(4) {
            println!("  {:?}", session.context);
            for question in &session.questions {
                println!("    {} -> {:?}", question.text, question.expected);
            }
        }
    }
}
