//! The state machine without IO: texts with the cursor as `|`, an engine that is the test.
use super::settings::PATIENCE;
use super::*;
use crate::config::Lines;
use crate::context::Context;
use crate::document::Document;
use crate::prompt::Budget;

/// A document being typed in, its machine, and the actions it gave.
struct Desk {
    machine: Suggest,
    text: Document,
    version: i32,
    asks: u64,
    log: Vec<Action>,
}

impl Desk {
    fn new(layout: Layout) -> Desk {
        let budget = Budget { prefix: 400, suffix: 100, short: 20, tail: 80 };
        let settings =
            Settings { budget, max_tokens: 64, lines: Lines::Auto, layout, alternatives: 3, threshold: 0.3, reach: 0, patience: PATIENCE };
        Desk { machine: Suggest::new(settings), text: Document::new("u", "rust", 0, ""), version: 0, asks: 0, log: vec![] }
    }

    fn put(&mut self, marked: &str) -> (Snapshot, usize) {
        let cursor = marked.find('|').expect("a cursor");
        self.version += 1;
        self.text = Document::new("u", "rust", self.version, &marked.replacen('|', "", 1));
        self.text.settle();
        (self.text.snapshot(), cursor)
    }

    fn ask_as(&mut self, marked: &str, explicit: bool) -> u64 {
        let (text, cursor) = self.put(marked);
        self.asks += 1;
        let actions = self.machine.ask(Ask { id: self.asks, text, cursor, explicit });
        self.log.extend(actions);
        self.asks
    }

    fn ask(&mut self, marked: &str) -> u64 {
        self.ask_as(marked, false)
    }

    fn edited(&mut self, marked: &str, edit: Edit) {
        let (text, _) = self.put(marked);
        let actions = self.machine.edited(&text, &[edit]);
        self.log.extend(actions);
    }

    fn started(&self) -> Vec<(u64, Request)> {
        self.log.iter().filter_map(|a| if let Action::Start { id, request } = a { Some((*id, request.clone())) } else { None }).collect()
    }

    fn aborted(&self) -> usize {
        self.log.iter().filter(|a| matches!(a, Action::Abort { .. })).count()
    }

    /// The newest engine request says this and ends.
    fn says(&mut self, text: &str, finish: Option<Finish>) {
        let (id, _) = self.started().pop().expect("a request");
        let actions = self.machine.text(id, text, -0.1);
        self.log.extend(actions);
        if let Some(finish) = finish {
            let actions = self.machine.done(id, finish);
            self.log.extend(actions);
        }
    }

    /// The one answer of an ask: its items' texts.
    fn answer(&self, ask: u64) -> Option<Vec<String>> {
        let all: Vec<_> = self
            .log
            .iter()
            .filter_map(|a| match a {
                Action::Answer { ask: id, items } if *id == ask => Some(items.iter().map(|i| i.text.clone()).collect()),
                Action::Supersede { ask: id } if *id == ask => Some(vec!["superseded".to_string()]),
                Action::Fail { ask: id, error } if *id == ask => Some(vec![error.to_string()]),
                _ => None,
            })
            .collect();
        assert!(all.len() < 2, "more than one answer for {ask}: {all:?}");
        all.into_iter().next()
    }

    fn pause(&mut self) {
        let mark = self.log.iter().rev().find_map(|a| if let Action::Pause { mark } = a { Some(*mark) } else { None });
        let actions = self.machine.idle(mark.expect("a pause"));
        self.log.extend(actions);
    }
}

fn one(text: &str) -> Option<Vec<String>> {
    Some(vec![text.to_string()])
}

#[test]
fn typing_through_and_backspacing_need_no_engine() {
    let mut d = Desk::new(Layout::Frozen);
    let a = d.ask("fn f() {\n    ret|\n}\n");
    d.says("urn x;", Some(Finish::Stop));
    assert_eq!(d.answer(a), one("urn x;"));
    for (text, rest) in [("    retu|", "rn x;"), ("    return x|", ";"), ("    retur|", "n x;"), ("    ret|", "urn x;")] {
        let ask = d.ask(&format!("fn f() {{\n{text}\n}}\n"));
        assert_eq!(d.answer(ask), one(rest));
    }
    assert_eq!(d.started().len(), 1);
    assert_eq!(d.machine.counts().without_model, 4);
}

/// "if a {" is shown closed, because it would break the parse. Its closer stays until the editor puts in one of its own.
#[test]
fn what_was_shown_stays_as_it_is_while_it_is_typed() {
    let mut d = Desk::new(Layout::Frozen);
    let a = d.ask("fn f() {\n    |\n}\n");
    d.says("if a {", Some(Finish::Stop));
    assert_eq!(d.answer(a), one("if a {}"));
    for (text, rest) in [("i|", "f a {}"), ("if a |", "{}"), ("if a {|", "}"), ("if a|", " {}")] {
        let ask = d.ask(&format!("fn f() {{\n    {text}\n}}\n"));
        assert_eq!((d.answer(ask), d.started().len()), (one(rest), 1), "{text}");
    }
    let ask = d.ask("fn f() {\n    if a {|}\n}\n");
    assert_eq!((d.answer(ask), d.started().len()), (None, 2), "nothing of it is left");
}

#[test]
fn what_was_refused_as_it_was_shown_does_not_come_back() {
    let mut d = Desk::new(Layout::Frozen);
    d.ask("fn f() {\n    |\n}\n");
    d.says("if a {", Some(Finish::Stop));
    d.machine.outcome(Outcome::Rejected, "if a {}");
    let ask = d.ask("fn f() {\n    |\n}\n");
    assert_eq!(d.answer(ask), Some(vec![]));
}

#[test]
fn a_key_that_disagrees_starts_anew_on_the_same_hole() {
    let mut d = Desk::new(Layout::Frozen);
    d.ask("a\n  re|\nz\n");
    d.says("turn", Some(Finish::Stop));
    let ask = d.ask("a\n  res|\nz\n");
    assert_eq!(d.answer(ask), None);
    let requests = d.started();
    assert_eq!(requests.len(), 2);
    assert_eq!((&requests[0].1.prefix, &requests[0].1.suffix), (&requests[1].1.prefix, &requests[1].1.suffix));
    assert_eq!(requests[1].1.tail, "  res");
}

#[test]
fn a_running_decode_goes_on_while_keys_agree() {
    let mut d = Desk::new(Layout::Frozen);
    let a = d.ask("  f|\n");
    d.says("oo", None);
    let b = d.ask("  fo|\n");
    let c = d.ask("  foo(|\n");
    assert_eq!((d.answer(a), d.answer(b)), (one("superseded"), one("superseded")));
    assert_eq!((d.started().len(), d.aborted(), d.answer(c)), (1, 0, None));
    d.says("(bar)", Some(Finish::Stop));
    assert_eq!(d.answer(c), one("bar)"));
}

#[test]
fn it_rolls_back_where_they_part() {
    let mut d = Desk::new(Layout::Frozen);
    d.ask("  f|\n");
    d.says("o", None);
    let b = d.ask("  foo|\n");
    assert_eq!(d.started().len(), 1, "it may agree");
    d.says("x", None);
    assert_eq!((d.aborted(), d.started().len(), d.answer(b)), (1, 2, None));
    d.says("(r)", Some(Finish::Stop));
    assert_eq!(d.answer(b), one("(r)"));
}

#[test]
fn a_decode_that_has_not_begun_begins_anew() {
    let mut d = Desk::new(Layout::Frozen);
    d.ask("  f|\n");
    d.ask("  fa|\n");
    assert_eq!((d.aborted(), d.started().len()), (1, 2));
    assert_eq!(d.started()[1].1.tail, "  fa");
}

#[test]
fn an_ask_for_an_old_version_gets_no_text() {
    let mut d = Desk::new(Layout::Frozen);
    let a = d.ask("  f|\n");
    d.edited("  fo|\n", Edit { start: 3, removed: 0, inserted: 1 });
    d.says("oo", Some(Finish::Stop));
    assert_eq!(d.answer(a), one("superseded"));
}

#[test]
fn after_an_accept_the_next_is_under_way() {
    let mut d = Desk::new(Layout::Frozen);
    d.ask("a {\n  f|\n}\n");
    d.says("oo()", Some(Finish::Stop));
    d.edited("a {\n  foo()|\n}\n", Edit { start: 7, removed: 0, inserted: 4 });
    assert_eq!(d.started().len(), 2);
    let ask = d.ask("a {\n  foo()|\n}\n");
    assert_eq!(d.started().len(), 2, "the ask joins it");
    d.says(".bar()", Some(Finish::Stop));
    assert_eq!(d.answer(ask), one(".bar()"));
}

#[test]
fn a_cancelled_ask_is_not_answered_and_its_work_is_used() {
    let mut d = Desk::new(Layout::Frozen);
    let a = d.ask("  f|\n");
    let actions = d.machine.cancel(a);
    d.log.extend(actions);
    d.says("oo()", Some(Finish::Stop));
    assert_eq!(d.answer(a), None);
    let b = d.ask("  fo|\n");
    assert_eq!((d.answer(b), d.started().len()), (one("o()"), 1));
}

#[test]
fn nothing_to_say_is_an_empty_answer() {
    let mut d = Desk::new(Layout::Frozen);
    let a = d.ask("  f|\n");
    d.says("  ", Some(Finish::Stop));
    assert_eq!(d.answer(a), Some(vec![]));
}

#[test]
fn an_explicit_ask_gives_alternatives() {
    let mut d = Desk::new(Layout::Frozen);
    let ask = d.ask_as("  f|\n", true);
    let requests = d.started();
    assert_eq!(requests.iter().map(|(_, r)| r.rank).collect::<Vec<_>>(), [0, 1, 2]);
    for ((id, _), text) in requests.iter().zip(["oo", "ar", "oo"]) {
        let actions = d.machine.text(*id, text, -0.1);
        d.log.extend(actions);
        assert_eq!(d.answer(ask), None);
        let actions = d.machine.done(*id, Finish::Stop);
        d.log.extend(actions);
    }
    assert_eq!(d.answer(ask), Some(vec!["oo".into(), "ar".into()]), "the same one is not offered twice");
}

#[test]
fn idle_prefills_the_long_suffix_and_then_uses_it() {
    let mut d = Desk::new(Layout::Frozen);
    let text = |tail: &str| format!("a {{\n  {tail}|\n}}\nfn one() {{}}\nfn two() {{}}\nfn three() {{}}\n");
    d.ask(&text("f"));
    assert!(!d.started()[0].1.suffix.contains("two"));
    d.says("oo", Some(Finish::Stop));
    d.pause();
    let (id, ahead) = d.started().pop().expect("a prefill");
    assert_eq!((ahead.max_tokens, ahead.priority), (0, Priority::Background));
    assert!(ahead.suffix.contains("three"));
    let actions = d.machine.done(id, Finish::Stop);
    d.log.extend(actions);
    d.ask(&text("x"));
    assert!(d.started().pop().expect("a request").1.suffix.contains("three"));
}

#[test]
fn a_key_before_the_pause_is_over_prefills_nothing() {
    let mut d = Desk::new(Layout::Frozen);
    d.ask("  f|\nfn one() {}\nfn two() {}\n");
    d.says("oo", Some(Finish::Stop));
    d.edited("  fx|\nfn one() {}\nfn two() {}\n", Edit { start: 3, removed: 0, inserted: 1 });
    d.pause();
    assert_eq!(d.started().len(), 1);
}

#[test]
fn a_failure_reaches_the_one_who_asked() {
    let mut d = Desk::new(Layout::Frozen);
    let ask = d.ask("  f|\n");
    let (id, _) = d.started().pop().expect("a request");
    let actions = d.machine.failed(id, EngineError { title: "no model".into(), hint: "set one".into() });
    d.log.extend(actions);
    assert_eq!(d.answer(ask), one("no model: set one"));
}

#[test]
fn psm_splits_at_the_cursor_and_still_types_through() {
    let mut d = Desk::new(Layout::Psm);
    let a = d.ask("a\n  re|\nz\n");
    let request = d.started()[0].1.clone();
    assert_eq!((request.prefix.as_str(), request.suffix.as_str(), request.tail.as_str()), ("a\n  re", "\nz\n", ""));
    d.says("turn", Some(Finish::Stop));
    let b = d.ask("a\n  ret|\nz\n");
    assert_eq!((d.answer(a), d.answer(b)), (one("turn"), one("urn")));
}

#[test]
fn the_next_anchor_is_adopted_when_its_prefill_is_done() {
    let mut d = Desk::new(Layout::Frozen);
    let lines = "  let aaaa = 1111;\r\n  let bbbb = 2222;\r\n  let c";
    d.ask("fn f() {\r\n  let|\r\n}\r\n");
    d.says(" x", Some(Finish::Stop));
    let a = d.ask(&format!("fn f() {{\r\n{lines}|\r\n}}\r\n"));
    d.says("ccc", Some(Finish::Stop));
    assert_eq!(d.answer(a), one("ccc"));
    d.pause();
    let (id, ahead) = d.started().pop().expect("a prefill");
    assert_eq!(ahead.tail, "  let c");
    let actions = d.machine.done(id, Finish::Stop);
    d.log.extend(actions);
    let b = d.ask(&format!("fn f() {{\r\n{lines}c|\r\n}}\r\n"));
    assert_eq!(d.answer(b), one("cc"), "the shown suggestion outlives the move");
}

#[test]
fn the_improbable_is_shown_only_when_asked_for() {
    let mut d = Desk::new(Layout::Frozen);
    for (explicit, shown) in [(false, 0), (true, 1)] {
        let ask = d.ask_as("  f|\n", explicit);
        for (id, _) in d.started() {
            let mut actions = d.machine.text(id, "oo", -3.0);
            actions.extend(d.machine.done(id, Finish::Stop));
            d.log.extend(actions);
        }
        assert_eq!(d.answer(ask).map(|a| a.len()), Some(shown));
    }
}

/// Another file.
#[derive(Debug)]
struct Other(&'static str);

impl Neighbours for Other {
    fn context(&self, _: &Snapshot, _: usize, limit: usize) -> Context {
        Context { text: self.0[..self.0.len().min(limit)].to_string(), keys: vec![] }
    }

    fn any(&self) -> bool {
        !self.0.is_empty()
    }
}

#[test]
fn more_of_the_file_and_others_go_to_an_engine_that_copies() {
    let long = format!("{}    le|\n{}", "let first = 1;\n".repeat(60), "let last = 2;\n".repeat(60));
    for (reach, other) in [(0, "fn other() {}\n"), (50, ""), (50, "fn other() {}\n")] {
        let mut desk = Desk::new(Layout::Frozen);
        desk.machine.settings.reach = reach;
        desk.machine.around = Some(Arc::new(Other(other)));
        desk.ask(&long);
        let (_, request) = desk.started().pop().expect("a request");
        let others = if reach > 0 { other } else { "" };
        let own = request.above.strip_prefix(others).expect("other files come first");
        assert_eq!((own.len(), request.below.len()), (reach, reach));
        assert!(reach == 0 || own.contains("first") && request.below.contains("last"));
    }
}
