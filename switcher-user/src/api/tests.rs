//! The socket, spoken to in plain HTTP.

use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::*;

/// A served socket, and an agent that answers each command with what the test says.
struct Served {
    directory: TempDir,
    _stop: oneshot::Sender<()>,
    agent: JoinHandle<Vec<Envelope>>,
}

/// Answers `Aliases` to everything, except for `upgrade`, which gets the progress.
fn serve(progress: Option<watch::Receiver<Progress>>) -> Served {
    let directory = TempDir::new().unwrap();
    let server = Server::bind(&directory.path().join("s")).unwrap();
    let (commands, mut inbox) = mpsc::channel::<Envelope>(4);
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(server.serve(commands, stopped));
    let agent = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(mut envelope) = inbox.recv().await {
            let (unused, _) = oneshot::channel();
            let reply = std::mem::replace(&mut envelope.reply, unused);
            let answer = match (&envelope.command, &progress) {
                (Command::Upgrade(_), Some(progress)) => Reply::Progress(progress.clone()),
                _ => Reply::Aliases(AliasesDocument {
                    schema: SCHEMA,
                    aliases: Vec::new(),
                }),
            };
            reply.send(Ok(answer)).unwrap();
            seen.push(envelope);
        }
        seen
    });
    Served {
        directory,
        _stop: stop,
        agent,
    }
}

impl Served {
    /// Status and body of the answer.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.directory.path().join("s")).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        // A server that has seen enough may close before everything is sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
            .await
            .unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.ask("POST", path, "content-type: application/json\r\n", body).await
    }

    async fn seen(self) -> Vec<Envelope> {
        drop(self._stop);
        tokio::time::timeout(Duration::from_secs(10), self.agent)
            .await
            .unwrap()
            .unwrap()
    }
}

#[tokio::test]
async fn a_request_becomes_a_command_with_its_caller_and_deadline() {
    let served = serve(None);
    let header = format!("content-type: application/json\r\n{TIMEOUT_HEADER}: 1500\r\n");
    let (status, body) = served
        .ask("POST", "/v1/aliases/web/split", &header, "{\"weights\":{\"v1\":3}}")
        .await;
    assert_eq!((status, body.as_str()), (200, "{\"schema\":1,\"aliases\":[]}"));
    let seen = served.seen().await;
    assert!(matches!(&seen[0].command, Command::Split(alias, _) if alias.as_str() == "web"));
    assert_eq!(seen[0].deadline - seen[0].started, Duration::from_millis(1_500));
    let pid = i32::try_from(std::process::id()).unwrap();
    assert_eq!(seen[0].caller.pid, Some(pid), "the kernel says who asks");
}

#[tokio::test]
async fn bad_requests_are_documents_and_reach_no_agent() {
    let served = serve(None);
    let json = "content-type: application/json\r\n";
    let ids = vec!["a"; CONTAINERS_NAMED_MAX + 1];
    let many = serde_json::json!({"ids": ids}).to_string();
    let cases = [
        ("POST", "/v1/nothing", json, "{}", "no such route"),
        ("POST", "/v1/upgrade", json, "{", "request body"),
        ("POST", "/v1/containers/leave", json, "{\"names\":[\"a\"]}", "names"),
        ("POST", "/v1/containers/stay", json, &many, "4096"),
        ("POST", "/v1/upgrade", "", "{}", "request body"),
        (
            "POST",
            "/v1/upgrade",
            json,
            "{\"aliases\":[],\"to\":\"v2\",\"drain_timeout_ms\":1,\"steps\":[5]}",
            "steps",
        ),
        (
            "POST",
            "/v1/aliases/web/split",
            json,
            "{\"weights\":{\"v1\":-1}}",
            "weight -1",
        ),
        ("PUT", "/v1/aliases/web", json, "{\"listen\":[\"nowhere\"]}", "nowhere"),
        ("PUT", "/v1/aliases/-web", json, "{\"listen\":[]}", "-web"),
        ("GET", "/v1/status?alias=web&watch=1", "", "", "watch"),
        ("GET", "/v1/receipts/first", "", "", "request path"),
        ("GET", "/v1/status", "switcher-timeout-ms: soon\r\n", "", "300000"),
    ];
    for (method, path, headers, body, words) in cases {
        let (status, answer) = served.ask(method, path, headers, body).await;
        let error: ApiError = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert_eq!(
            (status, error.code, error.schema),
            (400, ErrorCode::Invalid, SCHEMA),
            "{path}: {answer}"
        );
        assert!(error.message.contains(words), "'{words}' is not in: {answer}");
    }
    assert!(served.seen().await.is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let served = serve(None);
    let (status, answer) = served.post("/v1/apply", &" ".repeat(REQUEST_BYTES_MAX + 1)).await;
    assert_eq!(status, 400, "{answer}");
    assert!(served.seen().await.is_empty());
}

#[tokio::test]
async fn progress_is_a_line_each_and_ends() {
    let draining = |pending| Progress::Draining {
        schema: SCHEMA,
        epoch: 2,
        pending,
        established: 0,
        at_first: 0,
        eldest_ms: None,
        estimate_ms: None,
        left_ms: 9,
        sets: Vec::new(),
    };
    let (progress, seen) = watch::channel(draining(3));
    let served = serve(Some(seen));
    let body = "{\"aliases\":[\"web\"],\"to\":\"v2\",\"drain_timeout_ms\":0}";
    let (answer, ()) = tokio::join!(served.post("/v1/upgrade", body), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        progress.send_replace(draining(1));
        tokio::time::sleep(Duration::from_millis(200)).await;
        // The agent ends: so does the answer, without an end of the upgrade.
        drop(progress);
    });
    assert_eq!(answer.0, 200);
    let lines: Vec<Progress> = answer
        .1
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, [draining(3), draining(1)], "{}", answer.1);
    drop(served);
}

#[test]
fn each_code_has_the_contracts_exit_code() {
    let table = [
        (ErrorCode::UnknownAlias, 1),
        (ErrorCode::UnknownSet, 1),
        (ErrorCode::UnknownReceipt, 1),
        (ErrorCode::Refused, 1),
        (ErrorCode::HostFailed, 1),
        (ErrorCode::StoreFailed, 1),
        (ErrorCode::TimedOut, 1),
        (ErrorCode::Invalid, 2),
        (ErrorCode::NoAgent, 5),
        (ErrorCode::Busy, 6),
        (ErrorCode::Unknown, 7),
    ];
    for (code, exit) in table {
        assert_eq!(code.exit_code(), exit, "{code:?}");
    }
}
