use nocturne_wire::record::Role::{Assistant, System, Tool, User};

use super::*;
use crate::{
    import::{Files, TemplateSource},
    tokenizer::tests::{CHATML, by_bytes},
};

fn chatml(template: &str) -> (Tokenizer, Result<Chat, ModelError>) {
    let tokenizer = Tokenizer::foreign(by_bytes().to_string().as_bytes(), template).unwrap();
    let written = TemplateSource { template: template.into(), ..TemplateSource::default() };
    let chat = Chat::imported(ChatLayout { written, ends: vec![0, 257] }, &tokenizer);
    (tokenizer, chat)
}

const PLAIN: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

#[test]
fn both_layouts_write_conversations_that_open_answers_and_end() {
    let own = Tokenizer::train(["Where does Mirel live? In Oslo."; 4].into_iter(), 300).unwrap();
    let (foreign, imported) = chatml(PLAIN);
    for (tokenizer, chat) in [(own, Chat::default()), (foreign, imported.unwrap())] {
        let messages = [(User, "Where?"), (Assistant, "In Oslo <|im_end|>")];
        let asked = chat.conversation(&tokenizer, &messages[..1], true).unwrap();
        let plain = chat.conversation(&tokenizer, &messages[..1], false).unwrap();
        assert_eq!(asked, [plain, chat.open_answer()].concat());
        let whole = chat.conversation(&tokenizer, &messages, false).unwrap();
        assert!(whole.starts_with(&asked) && whole[asked.len()..].contains(&chat.end()) && chat.ends().contains(&chat.end()));
        assert_eq!(whole[asked.len()..].iter().filter(|id| chat.ends().contains(id)).count(), 1);
        let turns = chat.turns(&tokenizer, &messages).unwrap();
        let joined: Vec<u32> = turns.iter().flat_map(|turn| [&turn.opening[..], &turn.said[..]].concat()).collect();
        assert_eq!(joined, whole);
        assert_eq!(turns[1].opening, chat.open_answer());
    }
}

#[test]
fn our_own_messages_are_the_same_wherever_they_stand() {
    let tokenizer = Tokenizer::train(["Where does Mirel live? In Oslo."; 4].into_iter(), 300).unwrap();
    let turns = Chat::default().turns(&tokenizer, &[(System, "In"), (Tool, "Oslo")]).unwrap();
    let message = ChatTokens.message(&tokenizer, Tool, "Oslo");
    assert_eq!([&turns[1].opening[..], &turns[1].said[..]].concat(), message);
    assert_eq!(turns[0].opening, [ChatTokens.role(System)]);
}

#[test]
fn a_template_may_put_messages_together_and_refuse_beginnings() {
    let merging = "{% if messages[0].role == 'system' %}{% if messages | length < 2 %}{{ raise_exception('alone') }}{% endif %}\
        {% set first = messages[0].content + '\n' %}{% set messages = messages[1:] %}{% endif %}\
        {% for m in messages %}{% if m.role == 'user' %}{{ '<|im_start|>' + (first if loop.first and first is defined else '') + m.content }}\
        {% else %}{{ ' ' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}";
    let (tokenizer, chat) = chatml(merging);
    let chat = chat.unwrap();
    let messages = [(System, "s"), (User, "u"), (Assistant, "a"), (User, "v")];
    let turns = chat.turns(&tokenizer, &messages).unwrap();
    let text = |turn: &Turn| tokenizer.decode(&[&turn.opening[..], &turn.said[..]].concat());
    assert_eq!(turns.iter().map(text).collect::<Vec<_>>(), ["", "s\nu", " a", "v"]);
    assert!(chat.conversation(&tokenizer, &messages[..1], false).is_err());
    assert!(chat.open_answer().is_empty());
    assert_eq!(chat.end(), 257);
}

#[test]
fn a_template_that_takes_no_question_is_refused() {
    let (_, chat) = chatml("{{ raise_exception('never') }}");
    assert!(matches!(chat.unwrap_err(), ModelError::Import(_)));
}

#[test]
fn what_ends_an_answer_comes_from_three_files() {
    let tokenizer = Tokenizer::foreign(by_bytes().to_string().as_bytes(), CHATML).unwrap();
    let ends = |named: &[(&str, &str)]| {
        let template = ("chat_template.jinja", CHATML);
        let files: Files =
            named.iter().chain([&template]).map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        ChatLayout::import(&files, &tokenizer).map(|layout| {
            assert_eq!(ChatLayout::parse(&layout.to_json().unwrap()).unwrap(), layout);
            layout.ends
        })
    };
    let generation = ("generation_config.json", r#"{"eos_token_id": [256, 7, 7, 9999]}"#);
    let config = ("config.json", r#"{"eos_token_id": 3}"#);
    let tokens = ("tokenizer_config.json", r#"{"eos_token": "<|im_end|>"}"#);
    assert_eq!(ends(&[generation, config, tokens]).unwrap(), [256, 7, 257]);
    assert_eq!(ends(&[config]).unwrap(), [3]);
    assert_eq!(ends(&[tokens]).unwrap(), [257]);
    assert!(ends(&[]).unwrap_err().to_string().contains("what ends an answer"));
    assert!(ends(&[("config.json", r#"{"eos_token_id": "x"}"#)]).is_err());
    assert!(ChatLayout::parse(b"{}").is_err());
    assert!(ChatLayout::parse(br#"{"written": {"template": "", "tokens": {}}, "ends": []}"#).is_err());
}
