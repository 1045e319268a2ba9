//! Scenes in which a victim dies at a step of its own, and what has to hold afterwards.

#![expect(clippy::panic, reason = "a scene that has failed says with what")]

use std::{fs, os::unix::process::ExitStatusExt as _, path::Path, time::Duration};

use nocturne_lake::Lake;
use nocturne_support::{Death, Step, Steps};
use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::{Oracle, Verdict, Victim};

/// Longer than any of them lives.
const LONG: Duration = Duration::from_mins(1);

/// What `kill -9` sends.
const SIGKILL: i32 = 9;

/// How often a lake is looked at before what is wrong with it is believed: what the last request of somebody who died does may be seen between a listing and
/// a reading.
const LOOKS: u32 = 8;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// A folder before somebody dies in it, and what was said until then.
#[derive(Debug)]
pub struct House {
    folder: TempDir,
    program: &'static str,
    /// Variables of every process in it.
    variables: Vec<(String, String)>,
    /// What was issued and acknowledged.
    pub oracle: Oracle,
}

impl House {
    /// An empty one for a program with variables.
    ///
    /// # Panics
    /// When there can be no folder.
    pub fn new(program: &'static str, variables: Vec<(String, String)>) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), program, variables, oracle: Oracle::default() }
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// A copy of it as it is.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn twin(&self) -> Self {
        let twin = Self { oracle: self.oracle.clone(), ..Self::new(self.program, self.variables.clone()) };
        copy(self.folder.path(), twin.folder.path()).expect("copied");
        twin
    }

    /// Runs a victim to its end, which is to be a good one. `DIR` in its arguments stands for the folder.
    ///
    /// # Panics
    /// When it is not.
    pub fn run(&mut self, args: &[&str]) {
        assert!(self.lives(args, &[]), "{} was killed", args[0]);
    }

    /// Runs a victim with more variables to its end; whether it came to a good one, and was not killed.
    ///
    /// # Panics
    /// When it failed, or did not end.
    pub fn lives(&mut self, args: &[&str], variables: &[(String, String)]) -> bool {
        let victim = self.start(args, variables);
        let status = victim.end(LONG, &mut self.oracle).unwrap_or_else(|| panic!("{} does not end", args[0]));
        assert!(status.success() || status.signal() == Some(SIGKILL), "{} failed: {status}", args[0]);
        status.success()
    }

    /// Starts a victim with more variables.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, args: &[&str], variables: &[(String, String)]) -> Victim {
        let args: Vec<String> = args.iter().map(|arg| arg.replace("DIR", &self.folder.path().to_string_lossy())).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Victim::start_with(self.program, &args, &[&self.variables[..], variables].concat()).expect("starts")
    }

    /// Every record that was acknowledged is there once, and the audit agrees.
    ///
    /// # Panics
    /// When they are not, with what is wrong and `when`.
    pub async fn check(&self, lake: &Lake, when: &str) -> Verdict {
        let mut faults = String::new();
        for _ in 0..LOOKS {
            match self.oracle.check(lake).await {
                Ok(verdict) => {
                    assert!(verdict.rows >= self.oracle.acknowledged() && verdict.dead == 0, "{when}: {verdict:?}");
                    return verdict;
                }
                Err(found) => faults = found,
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        panic!("{when}:\n{faults}");
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            copy(&entry, &target)?;
        } else {
            fs::copy(entry, target)?;
        }
    }
    Ok(())
}

/// Which steps of a victim it is to die at.
#[derive(Debug)]
pub struct Deaths<'a> {
    /// What kills it.
    pub steps: &'a Steps,
    /// What its steps are.
    pub step: Step,
    /// How it dies at them.
    pub kinds: &'a [Death],
    /// How many deaths are drawn from all that there are.
    pub most: u64,
    /// What they are drawn from.
    pub seed: u64,
}

/// How that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Toll {
    /// Steps of a victim that lived.
    pub met: u64,
    /// Those who were to die.
    pub tried: u64,
    /// Those who died; the others ended before their step, which happens where the number of steps is not the same each time.
    pub died: u64,
}

impl Deaths<'_> {
    /// Plays a scene once for each death. It is given variables for its victim and words for what happens, checks what has to hold, and says whether the victim
    /// lived. The first time, which finds out how many steps there are, nobody is killed.
    ///
    /// # Panics
    /// When somebody died whom nobody killed.
    pub async fn each(&self, name: &str, mut scene: impl AsyncFnMut(&[(String, String)], &str) -> bool) -> Toll {
        assert!(scene(&self.steps.counting(self.step), "nobody is killed").await, "{name}: lives when nobody kills it");
        let met = self.steps.counted().expect("counted");
        let drawn = self.draw(met);
        let mut toll = Toll { met, tried: drawn.len() as u64, died: 0 };
        for (number, death) in drawn {
            let when = format!("{name} dies: {death:?} {:?} {number} of {met} (seed {})", self.step, self.seed);
            let lived = scene(&self.steps.variables(self.step, number, death), &when).await;
            toll.died += u64::from(!lived);
        }
        println!("{name}, {:?}: {toll:?}", self.step);
        toll
    }

    fn draw(&self, met: u64) -> Vec<(u64, Death)> {
        let mut all: Vec<_> = (1..=met).flat_map(|number| self.kinds.iter().map(move |death| (number, *death))).collect();
        if all.len() as u64 > self.most {
            all.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed));
            all.truncate(self.most as usize);
        }
        all
    }
}
