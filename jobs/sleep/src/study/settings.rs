//! Knobs of a night's training.

use nocturne_model::optim::{
    AdamSettings, DeltaMomentumSettings, DgdSettings, DmgdSettings, M3Settings, MomentumSettings, MuonSettings, OptimizerSettings,
};
use nocturne_wire::plan::{NightOptimizer, TrainingSettings};

/// Knobs of a night's training; the defaults were chosen on the demonstration's seeds 11, 12 and 14, so that only other seeds
/// measure them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StudySettings {
    /// Times that every lesson is seen, over all steps.
    pub(crate) views_a_lesson: u64,
    /// Fewest steps.
    pub(crate) min_steps: u64,
    /// Lesson rows a step.
    pub(crate) lessons: usize,
    /// Rows a step about what earlier nights taught, at most.
    pub(crate) history: usize,
    /// Rows about core knowledge a step.
    pub(crate) core: usize,
    /// Rows about names that nobody mentioned a step.
    pub(crate) unknown: usize,
    /// Rows of taught names and untaught questions a step.
    pub(crate) untaught: usize,
    /// Session rows a step.
    pub(crate) sessions: usize,
    /// Share of lesson questions that lose a word outside the name, and of those that lose one more each time: a wording that was never read shares only
    /// some of its words with those that were.
    pub(crate) word_dropout: f64,
    /// Weight of staying as generation 0 is, at every position.
    pub(crate) keep_weight: f32,
    /// Penalty on what slow banks add to the stream in sessions.
    pub(crate) quiet_sessions: f32,
    /// Steps of warm-up.
    pub(crate) warm_up: u64,
    /// Share of the steps after which the rate falls.
    pub(crate) decay_from: f64,
    /// The optimizer.
    pub(crate) optimizer: OptimizerSettings,
    /// Whether the optimizer's memory is handed on from night to night.
    pub(crate) keep_optimizer_state: bool,
}

impl Default for StudySettings {
    fn default() -> Self {
        Self {
            views_a_lesson: 130,
            min_steps: 150,
            lessons: 30,
            history: 30,
            core: 3,
            unknown: 14,
            untaught: 3,
            sessions: 3,
            word_dropout: 0.5,
            keep_weight: 4.0,
            quiet_sessions: 3e-6,
            warm_up: 10,
            decay_from: 0.4,
            optimizer: MuonSettings { rate: 0.2, momentum: 0.95, weight_decay: 0.0 }.into(),
            keep_optimizer_state: false,
        }
    }
}

impl StudySettings {
    /// The knobs of a night of which a plan says this.
    pub(crate) fn of(training: TrainingSettings) -> Self {
        let default = Self::default();
        let optimizer = match training.optimizer {
            NightOptimizer::Muon => default.optimizer,
            NightOptimizer::Adam => OptimizerSettings::Adam(AdamSettings::default()),
            NightOptimizer::Momentum => OptimizerSettings::Momentum(MomentumSettings::default()),
            NightOptimizer::DeltaMomentum => OptimizerSettings::DeltaMomentum(DeltaMomentumSettings::default()),
            NightOptimizer::Dmgd => OptimizerSettings::Dmgd(DmgdSettings { rate: 0.2, ..DmgdSettings::default() }),
            NightOptimizer::Dgd => OptimizerSettings::Dgd(DgdSettings::default()),
            NightOptimizer::M3 => OptimizerSettings::M3(M3Settings { rate: 0.1, ..M3Settings::default() }),
        };
        Self { optimizer, keep_optimizer_state: training.keep_optimizer_state, ..default }
    }

    /// Optimizer steps for a number of lessons.
    pub(crate) fn steps(&self, lessons: usize) -> u64 {
        (lessons as u64 * self.views_a_lesson).div_ceil(self.lessons as u64).max(self.min_steps)
    }

    /// The same for a day of few lessons: the fewest steps would show each of them far too often, so that a step has fewer rows of them, and of
    /// everything else in proportion. What earlier nights taught is seen as often as the day's lessons while it is no more than they are, and less often then: a
    /// night's cost is bounded.
    pub(super) fn for_lessons(mut self, lessons: usize, history: usize) -> Self {
        let wanted = (lessons as u64 * self.views_a_lesson).div_ceil(self.min_steps) as usize;
        if wanted < self.lessons {
            let share = |rows: usize| (rows * wanted).div_ceil(self.lessons);
            (self.unknown, self.untaught) = (share(self.unknown), share(self.untaught));
            (self.core, self.sessions) = (share(self.core), share(self.sessions));
            self.lessons = wanted;
        }
        self.history = (self.lessons * history).div_ceil(lessons.max(1)).min(self.history);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_steps_follows_the_lessons_above_a_floor() {
        let settings = StudySettings { views_a_lesson: 90, min_steps: 60, lessons: 56, ..StudySettings::default() };
        assert_eq!(settings.steps(0), 60);
        assert_eq!(settings.steps(112), 180);
    }

    #[test]
    fn few_lessons_are_not_seen_more_often_than_many() {
        let settings = StudySettings {
            views_a_lesson: 90,
            min_steps: 60,
            lessons: 56,
            unknown: 28,
            untaught: 14,
            ..StudySettings::default()
        };
        let few = settings.for_lessons(8, 0);
        assert_eq!((few.lessons, few.unknown, few.untaught), (12, 6, 3));
        let many = settings.for_lessons(120, 0);
        assert_eq!((many.lessons, many.unknown, many.history), (56, 28, 0));
    }

    #[test]
    fn what_earlier_nights_taught_takes_its_share_of_a_step_up_to_a_bound() {
        let rows = |lessons, history| StudySettings::default().for_lessons(lessons, history).history;
        assert_eq!((rows(112, 0), rows(112, 56), rows(112, 112), rows(112, 1000)), (0, 15, 30, 30));
        assert_eq!(rows(8, 1), 1);
    }
}
