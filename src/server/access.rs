//! Who may ask: a token where there is one; without one, this machine's own programs and no web page.
//!
//! ```text
//! no token   Host: 127.0.0.1:8080, no Origin            yes
//!            Host: evil.example (a name for 127.0.0.1)  no: a page in a browser could reach us so
//!            Origin: https://evil.example               no
//! token      Authorization: Bearer …                    yes, whatever the host; /health needs none
//! ```
use super::refusal::Refusal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What a door asks of those who come.
#[derive(Clone, Debug)]
pub struct Access {
    /// The windows' own door: it has more routes, and no web page reaches it.
    pub windows: bool,
    token: Option<String>,
}

impl Access {
    pub fn windows(token: Option<String>) -> Access {
        Access { windows: true, token }
    }

    pub fn http(token: Option<String>) -> Access {
        Access { windows: false, token }
    }

    fn judge(&self, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(token) = &self.token {
            let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
            let right = given.is_some_and(|given| same(given.trim().as_bytes(), token.as_bytes()));
            let open = path == "/health" && !self.windows;
            return if right || open { Ok(()) } else { Err(unauthorized()) };
        }
        let local = self.windows || text(header::HOST).is_some_and(is_local);
        let page = text(header::ORIGIN).is_some_and(|origin| !origin.split_once("://").is_some_and(|(_, host)| is_local(host)));
        if local && !page { Ok(()) } else { Err(foreign()) }
    }
}

fn unauthorized() -> Refusal {
    let message = "this server needs its token: send the header \"Authorization: Bearer TOKEN\"";
    Refusal::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
}

fn foreign() -> Refusal {
    let message =
        "a web page, or a name that is not this machine's, may not ask a server without a token: use 127.0.0.1, or set server.token_env";
    Refusal::new(StatusCode::FORBIDDEN, "permission_error", message)
}

/// In a time that does not tell how much of it was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |odd, (a, b)| odd | (a ^ b)) == 0
}

/// A host, with or without a port, that can only be this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Before every route.
pub async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.judge(request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(access: &Access, path: &str, headers: &[(&'static str, &str)]) -> bool {
        let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        access.judge(path, &map).is_ok()
    }

    #[test]
    fn without_a_token_only_this_machine_and_no_web_page() {
        let access = Access::http(None);
        for (host, origin, right) in [
            ("127.0.0.1:8080", None, true),
            ("localhost", None, true),
            ("LOCALHOST:1", None, true),
            ("[::1]:8080", None, true),
            ("127.0.0.1:8080", Some("http://localhost:3000"), true),
            ("127.0.0.1:8080", Some("https://evil.example"), false),
            ("127.0.0.1:8080", Some("null"), false),
            ("evil.example:8080", None, false),
            ("127.0.0.1.evil.example", None, false),
            ("192.168.1.2:8080", None, false),
        ] {
            let headers: Vec<_> = [("host", host)].into_iter().chain(origin.map(|origin| ("origin", origin))).collect();
            assert_eq!(judged(&access, "/v1/models", &headers), right, "{headers:?}");
        }
        assert!(!judged(&access, "/v1/models", &[]));
    }

    #[test]
    fn with_a_token_nothing_else_counts() {
        let access = Access::http(Some("secret".into()));
        assert!(judged(&access, "/v1/models", &[("host", "gpu.lan"), ("authorization", "Bearer secret")]));
        for wrong in ["Bearer Secret", "Bearer secre", "Bearer ", "secret", "Basic secret"] {
            assert!(!judged(&access, "/metrics", &[("host", "127.0.0.1"), ("authorization", wrong)]), "{wrong}");
        }
        assert!(judged(&access, "/health", &[]) && !judged(&access, "/metrics", &[]));
        assert!(!judged(&Access::windows(Some("secret".into())), "/health", &[]));
        assert!(judged(&Access::windows(None), "/infill/watch", &[]));
    }
}
