//! Bytes on stdin: whole frames around any bodies, or any bytes as they are.
//!
//! ```text
//! first byte odd    the rest goes to the server as it is, headers and all
//! first byte even   the rest is cut at zero bytes; each part is the body of a frame with the right length
//! ```
use infill::engine::{Answer, Engine, Event, Finish, Info, Request, State, Totals, Usage};
use infill::lsp::{Options, serve};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Says one word to everything.
pub struct Word;

impl Engine for Word {
    fn state(&self) -> State {
        State::Ready(Info {
            model: "word".into(),
            device: "fuzz".into(),
            bytes_per_token: 3.0,
            context: 4096,
            chat: true,
            ..Info::default()
        })
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn submit(&self, _: Request) -> Answer {
        let (events, answer) = mpsc::unbounded_channel();
        let usage = Usage { prompt_tokens: 1, computed: 1, generated: 1, ..Usage::default() };
        // The receiver is right here.
        let _ = events.send(Event::Text { text: "word".into(), logprob: -0.1 });
        let _ = events.send(Event::Done { finish: Finish::Stop, usage });
        answer
    }
}

const INITIALIZE: &[u8] =
    br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"capabilities":{"textDocument":{"inlineCompletion":{}}}}}"#;

fn frame(body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
}

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let mut bytes = Vec::new();
    frame(INITIALIZE, &mut bytes);
    if kind % 2 == 1 {
        bytes.extend_from_slice(rest);
    } else {
        rest.split(|b| *b == 0).for_each(|body| frame(body, &mut bytes));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let (input, output) = tokio::io::split(far);
        let options = Options { engine: Arc::new(Word), layers: vec![], record: None, problem: None };
        let server = tokio::spawn(serve(input, output, options));
        near.write_all(&bytes).await.expect("the server's stream is large enough");
        for _ in 0..60 {
            tokio::task::yield_now().await;
        }
        if server.is_finished() {
            server.await.expect("no panic");
        }
    });
    runtime.shutdown_background();
}
