//! What windows have beside HTTP's routes: news as long as they live, and a way to end the server.
//!
//! ```text
//! GET /infill/watch?window=4711   data: {"hello": {…}}   data: "loading"   data: {"ready": {…}}   …   data: "leaving"
//! POST /infill/stop
//! ```
use super::{Busy, Face};
use crate::daemon::{Hello, News};
use crate::engine::State;
use axum::Json;
use axum::extract::{Query, State as From};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// How soon a window hears that the model is loaded, and that it broke.
const LOADING: Duration = Duration::from_millis(30);
const LOADED: Duration = Duration::from_secs(1);

/// A window that listens.
struct Watch {
    face: Arc<Face>,
    told: Option<State>,
    greeted: bool,
    gone: bool,
    stopping: watch::Receiver<bool>,
    attached: Option<Attached>,
}

/// Counted as long as it lives.
struct Attached(Busy);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.0.windows.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `GET /infill/watch`; with `look` it is not a window, but somebody who looks.
pub async fn watch(
    From(face): From<Arc<Face>>,
    Query(query): Query<HashMap<String, String>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let attached = (!query.contains_key("look")).then(|| {
        face.windows.fetch_add(1, Ordering::SeqCst);
        Attached(face.begin())
    });
    let stopping = face.stopping.subscribe();
    let watch = Watch { face, told: None, greeted: false, gone: false, stopping, attached };
    let news = stream::unfold(watch, async |mut watch| {
        let news = watch.next().await?;
        let text = serde_json::to_string(&news).unwrap_or_default();
        Some((Ok(Event::default().data(text)), watch))
    });
    Sse::new(news).keep_alive(KeepAlive::default())
}

/// `POST /infill/stop`
pub async fn stop(From(face): From<Arc<Face>>) -> Json<Value> {
    face.stop();
    Json(json!({}))
}

impl Watch {
    async fn next(&mut self) -> Option<News> {
        if self.gone {
            return None;
        }
        if !self.greeted && !*self.stopping.borrow() {
            self.greeted = true;
            return Some(News::Hello(self.hello()));
        }
        loop {
            let state = self.face.engine.state();
            let pause = if state == State::Loading { LOADING } else { LOADED };
            if self.told.as_ref() != Some(&state) {
                self.told = Some(state.clone());
                return Some(state.into());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.stopping.wait_for(|stop| *stop) => {
                    self.gone = true;
                    return Some(News::Leaving);
                }
            }
        }
    }

    fn hello(&self) -> Hello {
        let face = &self.face;
        Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            model: face.identity.model.clone(),
            fingerprint: face.identity.fingerprint.clone(),
            windows: face.windows.load(Ordering::SeqCst).saturating_sub(usize::from(self.attached.is_some())),
            by_hand: face.by_hand,
            listen: face.listen.clone(),
        }
    }
}
