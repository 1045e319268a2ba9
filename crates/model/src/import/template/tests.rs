use std::time::Instant;

use super::*;

fn compiled(template: &str) -> ChatTemplate {
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    ChatTemplate::new("test", TemplateSource { template: template.to_owned(), tokens: tokens.into() }).unwrap()
}

fn written(template: &str) -> String {
    compiled(template).render(&[(Role::User, "a"), (Role::Assistant, "b")], true).unwrap()
}

/// The engine's error with all that caused it.
fn refusal(template: &str) -> String {
    let mut error: &dyn std::error::Error = &compiled(template).render(&[(Role::User, "a")], false).unwrap_err();
    let mut said = error.to_string();
    while let Some(source) = error.source() {
        said = format!("{said}: {source}");
        error = source;
    }
    said
}

#[test]
fn a_conversation_is_written_with_its_tokens_and_the_opening_of_an_answer() {
    let template = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m['content'] }}{{ eos_token }}{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% endif %}";
    assert_eq!(written(template), "<s><user>a</s><assistant>b</s><assistant>");
    assert_eq!(compiled(template).render(&[(Role::Tool, "1")], false).unwrap(), "<s><tool>1</s>");
}

#[test]
fn white_space_of_blocks_is_cut_as_transformers_cuts_it() {
    assert_eq!(written("{% if true %}\n  a\n  {% endif %}\nb\n"), "  a\nb");
    assert_eq!(written("a\r\n{% if true %}\r\n  b{% endif %}\r\rc"), "a\n  b\nc");
}

#[test]
fn loops_can_be_left_and_what_marks_generated_text_is_written() {
    assert_eq!(
        written(
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        ),
        "023"
    );
    assert_eq!(written("x {%- generation -%} y {%- endgeneration %} z {% generation %}\nw{% endgeneration %}"), "xy z w");
    assert_eq!(written("{% set generation = 3 %}{{ generation }}"), "3");
}

#[test]
fn what_is_not_given_is_none_or_undefined() {
    assert_eq!(
        written("{{ tools is none }} {{ tools is defined }} {{ documents }} {{ pad_token is defined }}"),
        "True True None False"
    );
}

#[test]
fn texts_have_the_methods_of_python() {
    assert_eq!(
        written("{{ '\u{1f} a\u{a0}'.strip() }}|{{ '\u{1c} b ' | trim }}|{{ 'xxaxx'.strip('x') }}|{{ ' c '.lstrip() }}|"),
        "a|b|a|c |"
    );
    assert_eq!(
        written("{{ 'a</t>b</t>c'.split('</t>')[-1] }} {{ 'a b  c'.split() }} {{ 'a-b-c'.rsplit('-', 1) }}"),
        "c ['a', 'b', 'c'] ['a-b', 'c']"
    );
    assert_eq!(written("{{ 'a b c'.split(none, 1) }} {{ 'a-b-c'.split('-', maxsplit=1) }}"), "['a', 'b c'] ['a', 'b-c']");
    assert_eq!(
        written("{{ 'prefix'.removeprefix('pre') }} {{ 'fixed'.removesuffix('ed') }} {{ 'a=b=c'.partition('=')[2] }}"),
        "fix fix b=c"
    );
    assert_eq!(
        written("{{ {'k': 1}.get('x', 'none') }} {% for k, v in {'b': 1, 'a': 2}.items() %}{{ k ~ v }}{% endfor %}"),
        "none b1a2"
    );
}

#[test]
fn json_is_written_as_python_writes_it() {
    let value = "{'b': [1, 2.5, true, none, 'ä<\\'\\n'], 'a': {}, 'c': []}";
    assert_eq!(written(&format!("{{{{ {value} | tojson }}}}")), r#"{"b": [1, 2.5, true, null, "ä<'\n"], "a": {}, "c": []}"#);
    let laid_out = "{\n  \"b\": [\n    1\n  ],\n  \"a\": {}\n}";
    assert_eq!(written("{{ {'b': [1], 'a': {}} | tojson(indent=2) }}"), laid_out);
    assert_eq!(written("{{ ['ä😀'] | tojson(ensure_ascii=true, separators=[',', ':']) }}"), r#"["\u00e4\ud83d\ude00"]"#);
    assert_eq!(
        written("{{ {'b': 1, 'a': [{'d': 1, 'c': 2}]} | tojson(sort_keys=true) }}"),
        r#"{"a": [{"c": 2, "d": 1}], "b": 1}"#
    );
}

#[test]
fn time_can_stand_still() {
    let template = compiled("{{ strftime_now('%d %b %Y') }}").at(jiff::civil::date(2026, 11, 9).at(3, 0, 0, 0));
    assert_eq!(template.render(&[], false).unwrap(), "09 Nov 2026");
    assert!(refusal("{{ strftime_now('%!') }}").contains("the format of a time"));
}

#[test]
fn a_template_says_itself_why_it_refuses() {
    let said = refusal("{{ raise_exception('roles must alternate') }}");
    assert!(
        said.starts_with("render a conversation of 1 messages with the chat template") && said.contains("roles must alternate"),
        "{said}"
    );
}

#[test]
fn what_is_not_jinja_names_its_file() {
    let source = TemplateSource { template: "{% for %}".into(), ..TemplateSource::default() };
    assert_eq!(ChatTemplate::new("x.jinja", source).unwrap_err().to_string(), "parse the chat template of x.jinja");
    let source = TemplateSource { template: " ".repeat(LONGEST + 1), ..TemplateSource::default() };
    assert!(ChatTemplate::new("x.jinja", source).unwrap_err().to_string().contains("are the most"));
}

#[test]
fn nothing_can_be_loaded_or_changed() {
    for source in ["{% include 'x' %}", "{% import 'x' as x %}", "{% extends 'x' %}"] {
        let source = TemplateSource { template: source.into(), ..TemplateSource::default() };
        assert!(ChatTemplate::new("test", source).is_err());
    }
    for template in ["{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{{ messages.__init__() }}"] {
        refusal(template);
    }
}

#[test]
fn work_and_output_are_bounded() {
    let started = Instant::now();
    let endless = "{% for i in range(100000) %}{% for j in range(100000) %}{% set x = 'a' * i %}{% endfor %}{% endfor %}";
    assert!(refusal(endless).contains("fuel"), "{}", refusal(endless));
    let long = "{% for i in range(9999) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}";
    assert!(matches!(compiled(long).render(&[(Role::User, "a")], false), Err(ImportError::TooLong { .. })));
    for template in [
        "{{ 'a' * 1000000000 }}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ ('a' * 100000).replace('a', 'a' * 100000) }}",
    ] {
        refusal(template);
    }
    let (many, others) = ("a".repeat(1_000_000), "b".repeat(1_000_000) + "a");
    let stripped = compiled("{{ messages[0].content.strip(messages[1].content) }}");
    assert_eq!(stripped.render(&[(Role::User, &many), (Role::Assistant, &others)], false).unwrap(), "");
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn fuel_is_enough_for_a_long_conversation() {
    let template = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ 'system' }}{% endif %}\
        {{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n' }}{% endfor %}";
    let text = "word ".repeat(2_000);
    let messages: Vec<(Role, &str)> =
        (0..2_000).map(|n| (if n % 2 == 0 { Role::User } else { Role::Assistant }, &*text)).collect();
    let written = compiled(template).render(&messages, true).unwrap();
    assert!(written.len() > 2_000 * text.len());
}
