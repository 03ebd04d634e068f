//! The same keystrokes to a llama.cpp server, as llama.vim sends them: what it computes, and how long it takes.
//!
//! ```text
//! infill bench trace fixtures/trace/short.json --timed 200 --against http://127.0.0.1:8012
//! POST /infill { input_prefix: lines above, prompt: the line up to the cursor, input_suffix: the rest, cache_prompt: true, … }
//!     -> timings { prompt_n, prompt_ms, predicted_ms }
//! ```
//! llama.vim asks only when its own cache of answers has nothing for the place, and not where more than 8 characters
//! stand behind the cursor; here every typed character asks, as on our side, one after the other. It has no chunks of
//! other files to add. Files are sent, so only this machine is taken.
use super::typist::Typist;
use super::{Row, trace::Trace};
use crate::config::plain;
use crate::document::Snapshot;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// llama.vim's defaults.
const LINES_ABOVE: usize = 256;
const LINES_BELOW: usize = 64;
const PREDICT: usize = 128;
const MAX_PROMPT_MS: u64 = 500;
/// Of the request for a new place; only its speculative second one gets a second.
const MAX_PREDICT_MS: u64 = 250;

/// Longest wait for one answer: a large model on a small machine reads its first prompt for minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// A llama.cpp server on this machine.
pub struct Peer {
    agent: ureq::Agent,
    base: String,
}

/// What the server says of one request.
#[derive(Debug, Deserialize)]
struct Timings {
    prompt_n: f64,
    prompt_ms: f64,
    predicted_ms: f64,
}

impl Peer {
    /// Checks that the address is this machine's and that a server listens there.
    pub fn new(url: &str) -> Result<Peer> {
        let base = loopback(url)?;
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
        // Neither a proxy nor a redirect may carry the text off this machine.
        let agent = config.proxy(None).max_redirects(0).build().new_agent();
        let peer = Peer { agent, base };
        let answer = peer.agent.get(format!("{}/health", peer.base)).call();
        let answer = answer.map_err(|e| anyhow!("{} does not answer ({}): start llama.cpp's server there first", peer.base, why(&e)))?;
        ensure!(answer.status() != 503, "{} is still loading its model: try again", peer.base);
        Ok(peer)
    }

    /// Replays the first `keys` typed characters.
    pub fn run(&self, trace: &Trace, keys: usize) -> Result<Row> {
        let mut row = Row::new("llama.cpp");
        for key in Typist::new(trace).filter(|k| k.typed).take(keys) {
            let body = request(&key.text, key.cursor);
            let begun = Instant::now();
            let timings = self.ask(&body)?;
            row.line_ms.push(begun.elapsed().as_secs_f64() * 1e3);
            row.foreground.push(timings.prompt_n);
            row.first_token_ms.push(timings.prompt_ms);
            row.predicted_ms.push(timings.predicted_ms);
        }
        Ok(row)
    }

    fn ask(&self, body: &Value) -> Result<Timings> {
        let url = format!("{}/infill", self.base);
        let sent = self.agent.post(&url).header("Content-Type", "application/json").send(body.to_string());
        let mut answer = sent.map_err(|e| anyhow!("{url} does not answer ({}): is the server still there?", why(&e)))?;
        let text = answer.body_mut().read_to_string().with_context(|| format!("{url} broke off its answer"))?;
        if !answer.status().is_success() {
            let said: String = text.chars().take(200).collect();
            bail!("{url} answered {}: {said} (a llama.cpp server with a fill-in-the-middle model is needed)", answer.status());
        }
        let value: Value = serde_json::from_str(&text).with_context(|| format!("{url} did not answer with JSON"))?;
        Timings::deserialize(&value["timings"]).with_context(|| format!("{url} gave no timings: is it llama.cpp's server?"))
    }
}

fn why(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(io) => plain(io),
        other => other.to_string(),
    }
}

/// `http://HOST:PORT` of an address on this machine.
fn loopback(url: &str) -> Result<String> {
    let remedy = "give the address of a llama.cpp server on this machine, such as http://127.0.0.1:8012";
    let rest = url.strip_prefix("http://").with_context(|| format!("--against {url}: is not http://HOST:PORT: {remedy}"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    ensure!(matches!(path, "" | "infill"), "--against {url}: has the path \"/{path}\", only /infill is spoken: {remedy}");
    ensure!(!authority.contains('@'), "--against {url}: carries a user name: {remedy}");
    let host = match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    ensure!(local, "--against {url}: {host:?} is not this machine, and the text of the trace would be sent there: {remedy}");
    Ok(format!("http://{authority}"))
}

/// What llama.vim sends for a cursor.
fn request(text: &Snapshot, cursor: usize) -> Value {
    let (before, after) = (text.text(0, cursor), text.text(cursor, text.rope.len_bytes()));
    let (above, head) = before.rsplit_once('\n').map_or(("", before.as_str()), |(above, head)| (above, head));
    let (rest, below) = after.split_once('\n').unwrap_or((&after, ""));
    // In a line of blanks it starts from the beginning of the line.
    let blank = head.trim().is_empty() && rest.trim().is_empty();
    let (head, rest) = if blank { ("", "") } else { (head, rest) };
    let lines: Vec<&str> = above.split('\n').collect();
    let above = lines[lines.len().saturating_sub(LINES_ABOVE)..].join("\n");
    let below: Vec<&str> = below.lines().take(LINES_BELOW).collect();
    json!({
        "input_prefix": format!("{above}\n"),
        "input_suffix": format!("{rest}\n{}\n", below.join("\n")),
        "input_extra": [],
        "prompt": head,
        "n_predict": PREDICT,
        "n_indent": head.len() - head.trim_start().len(),
        "stop": [],
        "top_k": 40,
        "top_p": 0.90,
        "samplers": ["top_k", "top_p", "infill"],
        "stream": false,
        "cache_prompt": true,
        "t_max_prompt_ms": MAX_PROMPT_MS,
        "t_max_predict_ms": MAX_PREDICT_MS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn only_this_machine_is_taken() {
        for (url, base) in [
            ("http://127.0.0.1:8012", "http://127.0.0.1:8012"),
            ("http://localhost:8012/infill", "http://localhost:8012"),
            ("http://[::1]:8012/", "http://[::1]:8012"),
        ] {
            assert_eq!(loopback(url).ok().as_deref(), Some(base), "{url}");
        }
        for (url, word) in [
            ("http://10.0.0.1:8012", "10.0.0.1"),
            ("http://127.0.0.1.example.org", "not this machine"),
            ("http://localhost@example.org/", "user name"),
            ("https://127.0.0.1", "is not http"),
            ("127.0.0.1:8012", "is not http"),
            ("http://127.0.0.1/v1", "/v1"),
        ] {
            let error = loopback(url).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("http://127.0.0.1:8012"), "{error}");
        }
    }

    #[test]
    fn a_request_is_llama_vims() {
        let body = |text: &str| {
            let cursor = text.find('|').expect("a cursor");
            request(&Document::new("u", "rust", 1, &text.replace('|', "")).snapshot(), cursor)
        };
        let all = body("a\nb\n    c = |d;\ne\n");
        assert_eq!(all["input_prefix"], "a\nb\n");
        assert_eq!(all["prompt"], "    c = ");
        assert_eq!(all["input_suffix"], "d;\ne\n");
        assert_eq!(all["n_indent"], 4);
        assert_eq!(all["samplers"], json!(["top_k", "top_p", "infill"]));
        let blank = body("a\n    |\nb\n");
        assert_eq!((&blank["prompt"], &blank["input_suffix"], &blank["n_indent"]), (&json!(""), &json!("\nb\n"), &json!(0)));
        let long = body(&("x\n".repeat(300) + "|" + &"\ny".repeat(100)));
        assert_eq!(long["input_prefix"].as_str().map(|s| s.lines().count()), Some(LINES_ABOVE));
        assert_eq!(long["input_suffix"].as_str().map(|s| s.matches('y').count()), Some(LINES_BELOW));
    }

    /// Answers `/health` with nothing and everything else with `answer`; ends when the listener's owner is done asking.
    fn fake(status: &'static str, answer: &'static str, requests: usize) -> (String, std::thread::JoinHandle<Vec<Value>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let thread = std::thread::spawn(move || {
            let streams = listener.incoming().take(requests + 1).flatten();
            streams.filter_map(|s| reply(s, status, answer)).collect()
        });
        (url, thread)
    }

    fn reply(stream: TcpStream, status: &str, answer: &str) -> Option<Value> {
        let mut reader = BufReader::new(stream);
        let (mut line, mut length, mut post) = (String::new(), 0, false);
        while reader.read_line(&mut line).ok()? > 2 {
            post |= line.starts_with("POST /infill ");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (status, answer) = if post { (status, answer) } else { ("200 OK", "{}") };
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        reader.get_mut().write_all(head.as_bytes()).ok()?;
        serde_json::from_slice(&body).ok()
    }

    fn trace() -> Trace {
        let json = r#"{"startContent":"fn f() {\n}\n","txns":[{"time":"2020-01-01T00:00:00.000Z",
            "patches":[[9,0,"a"],[10,0,"b"],[10,1,""],[10,0,"c"]]}]}"#;
        Trace::parse(json.as_bytes()).expect("a trace")
    }

    #[test]
    fn each_typed_character_asks_and_its_timings_are_kept() {
        let answer = r#"{"content":"x","timings":{"prompt_n":7,"prompt_ms":2.5,"predicted_n":1,"predicted_ms":4.0}}"#;
        let (url, server) = fake("200 OK", answer, 3);
        let row = Peer::new(&url).and_then(|peer| peer.run(&trace(), 10)).expect("a row");
        let prompts: Vec<_> = server.join().expect("the server").iter().map(|b| b["prompt"].clone()).collect();
        assert_eq!(prompts, ["a", "ab", "ac"]);
        assert_eq!((row.foreground, row.first_token_ms, row.predicted_ms), (vec![7.0; 3], vec![2.5; 3], vec![4.0; 3]));
        assert_eq!(row.line_ms.len(), 3);
    }

    #[test]
    fn a_server_that_cannot_is_named_with_what_it_said() {
        let error = |status, answer| {
            let (url, server) = fake(status, answer, 1);
            let error = Peer::new(&url).and_then(|peer| peer.run(&trace(), 1)).expect_err("an error");
            drop(server.join());
            format!("{error:#}")
        };
        assert!(error("501 Not Implemented", "no FIM here").contains("501 Not Implemented: no FIM here"));
        assert!(error("200 OK", "{}").contains("no timings"));
        assert!(error("200 OK", "<html>").contains("JSON"));
    }

    #[test]
    fn nobody_there() {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let error = Peer::new(&format!("http://{free}")).err().map(|e| format!("{e:#}")).unwrap_or_default();
        assert!(error.contains(&format!("http://{free} does not answer (connection refused)")), "{error}");
    }
}
