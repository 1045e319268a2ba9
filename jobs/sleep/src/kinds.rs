//! Which lessons are about the same attribute, and which about the same kind of thing, found from how they are asked: nobody tells a night that one name is
//! a person and another a product, and a question that makes no sense teaches nothing.

use std::collections::BTreeSet;

use crate::names::Template;

/// Templates that two lessons must share to be asked alike; fewer are shared by chance, because the model that wrote them errs.
const SHARED: usize = 3;

/// A lesson as this module sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Whom it is about.
    pub(crate) name: &'a str,
    /// How it is asked.
    pub(crate) templates: &'a BTreeSet<Template>,
}

/// The attribute of each lesson, as the index of the first lesson about it: lessons that are asked alike, directly or through others.
pub(crate) fn attributes(lessons: &[Asked<'_>]) -> Vec<usize> {
    groups(lessons, alike)
}

/// The kind of each lesson, as the index of the first lesson of that kind: lessons that are asked alike or are about one name.
pub(crate) fn kinds(lessons: &[Asked<'_>]) -> Vec<usize> {
    groups(lessons, |a, b| a.name == b.name || alike(a, b))
}

fn alike(a: Asked<'_>, b: Asked<'_>) -> bool {
    a.templates.intersection(b.templates).take(SHARED).count() == SHARED
}

fn groups(lessons: &[Asked<'_>], linked: impl Fn(Asked<'_>, Asked<'_>) -> bool) -> Vec<usize> {
    let mut group: Vec<usize> = (0..lessons.len()).collect();
    for n in 0..lessons.len() {
        for other in 0..n {
            let (from, to) = (group[n].max(group[other]), group[n].min(group[other]));
            if from != to && linked(lessons[n], lessons[other]) {
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
        }
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(questions: &[&str]) -> BTreeSet<Template> {
        questions.iter().filter_map(|q| Template::of(q, "_")).collect()
    }

    #[test]
    fn lessons_asked_alike_are_about_one_attribute_and_those_of_one_name_of_one_kind() {
        let home = templates(&["Where does _ live?", "Which city is _ from?", "What is the home of _?"]);
        let pet = templates(&["Which pet does _ have?", "What animal lives with _?", "Tell me the pet of _."]);
        let price = templates(&["What does _ cost?", "How much is _?", "What is the home of _?"]);
        let asked = |name, templates| Asked { name, templates };
        let lessons = [asked("Mirel", &home), asked("Koral lamp", &price), asked("Kara", &pet), asked("Kara", &home)];
        assert_eq!(attributes(&lessons), [0, 1, 2, 0]);
        assert_eq!(kinds(&lessons), [0, 1, 0, 0]);
    }

    #[test]
    fn a_single_slip_of_the_model_joins_nothing() {
        let a = templates(&["a _", "b _", "c _", "slip _"]);
        let b = templates(&["d _", "e _", "f _", "slip _"]);
        assert_eq!(kinds(&[Asked { name: "x", templates: &a }, Asked { name: "y", templates: &b }]), [0, 1]);
    }
}
