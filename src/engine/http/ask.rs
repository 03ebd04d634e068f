//! One request: its prompt, its answer as it comes, what it cost.
//!
//! ```text
//! tail "    self.wid" -> prompt … "    self."  answer "width + 1" -> Text "th + 1"
//! ```
use super::api::{self, Chunk, Prompt, Wish};
use super::tail::{Filter, Passed, settled};
use super::template::Piece;
use super::wire::{Lines, Odd, Refused};
use super::{Found, Remote, lock};
use crate::config::Api;
use crate::engine::{EngineError, Event, Finish, Form, Miss, Request, Usage};
use crate::hub::problem;
use reqwest::{Method, Response};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

/// Texts whose tokens are kept: prefixes and suffixes of the windows at work.
const KEPT: usize = 16;

/// More bytes a token than any tokenizer has on code: a server that goes on past this is cut off.
const WIDEST: usize = 64;

/// How an attempt ended.
pub(super) enum Ended {
    Done(Finish),
    /// The answer does not begin with what the user has typed.
    Disagrees,
}

/// What an attempt has cost, by the server's own count; and where its text goes.
pub(super) struct Tally<'a> {
    to: &'a UnboundedSender<Event>,
    prompt_tokens: usize,
    reused: usize,
    generated: usize,
    pieces: usize,
    bytes: usize,
    first: Option<Instant>,
}

impl<'a> Tally<'a> {
    fn new(to: &'a UnboundedSender<Event>) -> Tally<'a> {
        let (prompt_tokens, reused, generated, pieces, bytes, first) = Default::default();
        Tally { to, prompt_tokens, reused, generated, pieces, bytes, first }
    }

    fn take(&mut self, chunk: &Chunk) {
        self.prompt_tokens = chunk.prompt_tokens.unwrap_or(self.prompt_tokens);
        self.reused = chunk.reused.unwrap_or(self.reused);
        self.generated = chunk.generated.unwrap_or(self.generated);
        self.pieces += usize::from(!chunk.text.is_empty());
        self.bytes += chunk.text.len();
    }
}

impl Remote {
    /// Answers a request; text goes to `to` as it comes.
    pub(super) async fn answer(self: &Arc<Self>, request: &Request, to: &UnboundedSender<Event>) -> Result<(Finish, Usage), EngineError> {
        let begun = Instant::now();
        let found = self.ready().await?;
        let mut tally = Tally::new(to);
        let finish = if request.max_tokens == 0 && found.api == Api::DeepSeek {
            // Nobody waits for it, and it would be paid for.
            Finish::Length
        } else {
            self.attempts(&found, request, &mut tally).await?
        };
        Ok((finish, self.usage(request, &tally, begun)))
    }

    async fn attempts(&self, found: &Found, request: &Request, tally: &mut Tally<'_>) -> Result<Finish, EngineError> {
        if let Form::Chat(turns) = &request.form {
            return self.converse(found, turns, request, tally).await.map_err(|refused| self.told(refused, request));
        }
        let deepseek = found.template.as_ref().is_none_or(|t| t.deepseek);
        let whole = request.tail.len();
        let cut = settled(&request.tail, deepseek);
        for at in [cut, whole] {
            match self.attempt(found, request, at, tally).await {
                Ok(Ended::Done(finish)) => return Ok(finish),
                Ok(Ended::Disagrees) => tracing::debug!("the model would write another word"),
                Err(refused) => return Err(self.told(refused, request)),
            }
        }
        Ok(Finish::Stop)
    }

    /// A failure as the user hears it.
    fn told(&self, mut refused: Refused, request: &Request) -> EngineError {
        leave_out(&mut refused.error, request);
        let chat = matches!(request.form, Form::Chat(_));
        if refused.status.is_none_or(|status| status == 404 && !chat) {
            // It is gone, or another program listens there now: it is asked again what it is.
            self.failed(refused.error.clone());
        }
        refused.error
    }

    async fn attempt(&self, found: &Found, request: &Request, at: usize, tally: &mut Tally<'_>) -> Result<Ended, Refused> {
        let (sent, held) = request.tail.split_at_checked(at).unwrap_or((&request.tail, ""));
        let prompt = match self.prompt(found, request, sent).await {
            // What the user's text holds says nothing about the server.
            Err(refused) if refused.status.is_some() => return Err(refused),
            other => other?,
        };
        let body = api::body(found, prompt, &Wish { request, held });
        tracing::trace!(%body, "asked");
        let answer = self.send(Method::POST, api::path(found.api), Some(&body)).await?;
        let ends = found.template.iter().flat_map(|t| t.ends.iter().copied().chain(t.markers()));
        let mut filter = Filter::new(held, request.stop.iter().map(String::as_str).chain(ends));
        let most = if request.max_tokens == 0 { 0 } else { request.max_tokens + held.len() };
        self.follow(found, found.api, answer, &mut filter, most, tally).await
    }

    /// Passes an answer on as it comes: at most about `most` tokens, and no text where that is 0.
    pub(super) async fn follow(
        &self,
        found: &Found,
        api: Api,
        answer: Response,
        filter: &mut Filter<'_>,
        most: usize,
        tally: &mut Tally<'_>,
    ) -> Result<Ended, Refused> {
        let limit = (most + 16) * WIDEST;
        let (mut lines, mut finish) = (Lines::new(answer), None);
        while let Some(line) = lines.next().await.map_err(|odd| self.odd(odd))? {
            let Some(chunk) = api::chunk(api, &line).map_err(|what| self.wrong(&what))? else { continue };
            tally.take(&chunk);
            if let Some(said) = chunk.error {
                return Err(self.failure(problem(format!("{} has failed ({said})", self.host), "look at its log")));
            }
            if chunk.model.as_ref().is_some_and(|model| *model != found.model && found.tokenizes) {
                let title = format!("{} serves another model now ({})", self.host, chunk.model.unwrap_or_default());
                return Err(self.failure(problem(title, "the next suggestion is its")));
            }
            if most > 0 && !chunk.text.is_empty() {
                match filter.push(&chunk.text, chunk.logprob) {
                    Passed::Text(text, logprob) => tally.pass(text, logprob),
                    Passed::Stopped(text, logprob) => {
                        tally.pass(text, logprob);
                        return Ok(Ended::Done(Finish::Stop));
                    }
                    Passed::Disagrees => return Ok(Ended::Disagrees),
                }
            }
            finish = chunk.finish.or(finish);
            if chunk.last || tally.bytes > limit {
                finish = finish.or((tally.bytes > limit).then_some(Finish::Length));
                break;
            }
        }
        match (finish, filter.finish()) {
            (None, _) => Err(self.odd(Odd::Broken("its answer has no end".to_owned()))),
            (Some(_), _) if most == 0 => Ok(Ended::Done(Finish::Length)),
            (Some(_), Passed::Disagrees) => Ok(Ended::Disagrees),
            (Some(finish), Passed::Text(text, logprob) | Passed::Stopped(text, logprob)) => {
                tally.pass(text, logprob);
                Ok(Ended::Done(finish))
            }
        }
    }

    fn failure(&self, error: EngineError) -> Refused {
        Refused { status: None, error }
    }

    fn wrong(&self, what: &str) -> Refused {
        self.failure(self.garbage(what))
    }

    fn odd(&self, odd: Odd) -> Refused {
        match odd {
            Odd::Broken(reason) => self.failure(self.broken(&reason)),
            Odd::TooLong => self.wrong("a line without an end"),
        }
    }

    /// The prompt of a request, with this much of its tail.
    pub(super) async fn prompt(&self, found: &Found, request: &Request, tail: &str) -> Result<Prompt, Refused> {
        let (prefix, suffix) = (&request.prefix, &request.suffix);
        let Some(template) = &found.template else {
            return Ok(Prompt::Fill { before: format!("{prefix}{tail}"), after: suffix.clone() });
        };
        let marker = [prefix, suffix, tail].into_iter().find_map(|text| template.holds_marker(text));
        match marker {
            Some(marker) if !found.tokenizes => Err(self.refused_for(marker)),
            None if found.api != Api::LlamaCpp => Ok(Prompt::Text(template.text(prefix, suffix, tail))),
            _ => {
                let mut ids = found.begin.clone();
                for piece in template.pieces(prefix, suffix, tail) {
                    match piece {
                        Piece::Marker(text) => ids.extend(found.marks.get(text).into_iter().flatten()),
                        Piece::Text("") => {}
                        Piece::Text(text) => ids.extend(self.tokens(found, text).await?),
                    }
                }
                Ok(Prompt::Ids(ids))
            }
        }
    }

    pub(super) fn refused_for(&self, marker: &str) -> Refused {
        let title = format!("The text around the cursor holds {marker}, which {} would take for the model's own", self.host);
        let error =
            problem(title, "there is no suggestion there; vLLM and llama.cpp can tell them apart, and so can the model on this machine");
        // Not the server's fault: a status keeps it known.
        Refused { status: Some(reqwest::StatusCode::UNPROCESSABLE_ENTITY), error }
    }

    /// The tokens of a user's text, in which nothing is a marker.
    async fn tokens(&self, found: &Found, text: &str) -> Result<Vec<u32>, Refused> {
        if let Some(ids) = self.known_tokens(text) {
            return Ok(ids);
        }
        let mut ids = Vec::new();
        let pieces = match (&found.template, found.api) {
            // It is told not to look for markers.
            (_, Api::LlamaCpp) | (None, _) => vec![text],
            (Some(template), _) => apart(text, &template.markers().chain(template.ends.iter().copied()).collect::<Vec<_>>()),
        };
        for piece in pieces {
            ids.extend(self.tokenize(found, piece, false).await?);
        }
        let mut kept = lock(&self.tokens);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((text.to_owned(), ids.clone()));
        Ok(ids)
    }

    /// The kept tokens of a text, which is the newest from now on: the frozen ones outlive the tails that come and go.
    fn known_tokens(&self, text: &str) -> Option<Vec<u32>> {
        let mut kept = lock(&self.tokens);
        let at = kept.iter().position(|(known, _)| known == text)?;
        let found = kept.remove(at);
        let ids = found.1.clone();
        kept.push(found);
        Some(ids)
    }

    fn usage(&self, request: &Request, tally: &Tally, begun: Instant) -> Usage {
        let mut last = lock(&self.last);
        let computed = tally.prompt_tokens.saturating_sub(tally.reused);
        let miss = match tally.reused {
            _ if computed <= 16 => Miss::None,
            0 => Miss::Cold,
            _ if last.0 != request.prefix => Miss::Prefix,
            _ if last.1 != request.suffix => Miss::Suffix,
            _ => Miss::Tail,
        };
        *last = (request.prefix.clone(), request.suffix.clone());
        let generated = if tally.generated > 0 { tally.generated } else { tally.pieces };
        let first_token = tally.first.map(|at| at - begun);
        let (prompt_tokens, reused, total) = (tally.prompt_tokens, tally.reused, begun.elapsed());
        Usage { prompt_tokens, reused, computed, generated, drafted: 0, accepted: 0, miss, first_token, total }
    }
}

impl Tally<'_> {
    fn pass(&mut self, text: String, logprob: f32) {
        if !text.is_empty() {
            self.first.get_or_insert_with(Instant::now);
            // Who has hung up is noticed elsewhere.
            let _ = self.to.send(Event::Text { text, logprob });
        }
    }
}

/// So many characters of the user's in a server's words are no chance.
const QUOTE: usize = 12;

/// Errors are shown and logged: a server's words that repeat the user's code are taken out.
fn leave_out(error: &mut EngineError, request: &Request) {
    let Some((title, said)) = error.title.split_once(" (") else { return };
    let said: Vec<char> = said.chars().collect();
    let turns = if let Form::Chat(turns) = &request.form { turns.as_slice() } else { &[] };
    let texts: Vec<&String> =
        [&request.prefix, &request.suffix, &request.tail].into_iter().chain(turns.iter().map(|turn| &turn.text)).collect();
    let quotes = |window: &[char]| {
        let window: String = window.iter().collect();
        texts.iter().any(|text| text.contains(&window))
    };
    if said.windows(QUOTE).any(quotes) {
        error.title = format!("{title} (its words repeat the text around the cursor, and are left out)");
    }
}

/// Cuts a text inside of each marker, so that no piece holds one.
fn apart<'a>(text: &'a str, markers: &[&str]) -> Vec<&'a str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = markers.iter().filter(|m| !m.is_empty()).filter_map(|m| rest.find(m)).min() {
        let first = rest.get(at..).and_then(|r| r.chars().next()).map_or(1, char::len_utf8);
        let (piece, more) = rest.split_at(at + first);
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Role, Turn};

    #[test]
    fn errors_do_not_repeat_code() {
        let request = Request { prefix: "password = 'tiger'\n".into(), ..Request::default() };
        let left = |title: &str| {
            let mut error = problem(title, "look");
            leave_out(&mut error, &request);
            error.title
        };
        assert_eq!(left("x has failed (500: out of memory)"), "x has failed (500: out of memory)");
        assert!(left("x has failed (500: in password = 'tiger')").ends_with("left out)"));
        let form = Form::Chat(vec![Turn { role: Role::User, text: "token = 'lion' * 3".into() }]);
        let mut error = problem("x has failed (500: token = 'lion')", "look");
        leave_out(&mut error, &Request { form, ..Request::default() });
        assert!(error.title.ends_with("left out)"), "{error}");
    }

    #[test]
    fn no_piece_holds_a_marker() {
        let markers = ["<a>", "<｜b｜>"];
        assert_eq!(apart("x<a><a>y<｜b｜>", &markers), ["x<", "a><", "a>y<", "｜b｜>"]);
        assert_eq!(apart("", &markers), [""]);
    }
}
