use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;
use crate::api::{AliasesDocument, ChangesDocument, Progress};

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("switcher").chain(line.split_whitespace()))
}

#[test]
fn the_contracts_lines_are_taken() {
    let lines = [
        "agent --state-dir /a --bpffs /b --socket /c --interface eth0 --interface eth1 --hook xdp",
        "agent --metrics-listen 127.0.0.1:9740",
        "agent --metrics-listen [::1]:0",
        "apply -f - --dry-run --prune --timeout 10s",
        "alias put web --listen 198.51.100.10:80/tcp --listen [2001:db8::10]:80/tcp --path stack",
        "alias put web --listen 198.51.100.10:80/tcp [2001:db8::10]:80/tcp",
        "alias rm web",
        "compose -f docker-compose.yml -f more.yml -r rancher-compose.yml -p shop config",
        "alias ls --json",
        "set put web v1 --backend 10.1.0.2:8080 --backend fd00::2",
        "set rm web v1",
        "split web v1=50 v2=50 --timeout 500ms",
        "upgrade web api --to v2 --from v1 --drain-timeout 0s --timeout 5m",
        "--host unix:///tmp/s rollback web --json",
        "status",
        "status web --host unix:///tmp/s",
        "flows web",
        "flows web --set v1 --limit 65536 --json",
        "doctor",
        "doctor --state-dir /a --bpffs /b --interface eth0 --json",
        "status --watch",
        "status web --watch --interval 500ms --json",
        "receipt ls",
        "receipt show 3",
        "detach --bpffs /b",
    ];
    for line in lines {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_is_wrong_or_comes_later_is_refused_with_exit_2() {
    let lines = [
        ("upgrade web --to v2 --steps 5,25", "--steps"),
        ("upgrade web --to v2 --check", "--check"),
        ("upgrade web --to v2 --steps 5,50", "must be 100"),
        ("upgrade web --to v2 --fail-on http_500>1%", "there are: failed"),
        ("upgrade web --to v2 --confirm maybe", "auto or manual"),
        ("upgrade web --to v2 --step-by packet", "client or flow"),
        ("upgrade --to v2", "ALIAS"),
        ("upgrade web", "--to"),
        ("upgrade web --to v2 --drain-timeout soon", "30s"),
        ("agent --hook generic", "auto, tc or xdp"),
        ("agent --metrics-listen 127.0.0.1", "127.0.0.1:9740"),
        ("agent --metrics-listen localhost:9740", "127.0.0.1:9740"),
        ("hold", "ALIAS"),
        ("hold web --for soon", "30s"),
        ("release", "ALIAS"),
        ("status --interval 1s", "--watch"),
        ("status --watch --interval 1ms", "100ms and 1h"),
        ("status --watch --interval often", "30s"),
        ("flows", "ALIAS"),
        ("flows web --limit 0", "1..=65536"),
        ("flows web --limit 65537", "1..=65536"),
        ("flows web --set -v1", "-v"),
        ("doctor web", "web"),
        ("split web", "SET=WEIGHT"),
        ("split web v1", "v1=50"),
        ("split web v1=-1", "weight -1"),
        ("split web v1=1001", "0 to 1000"),
        ("alias put web", "--listen"),
        ("alias put web --listen 198.51.100.10:80", "/tcp"),
        ("alias put web --listen 198.51.100.10:80/sctp", "sctp"),
        (
            "alias put web --listen 198.51.100.10:80/udp --udp maybe",
            "stay or move",
        ),
        (
            "alias put web --listen 198.51.100.10:80/tcp --path fast",
            "auto, bypass or stack",
        ),
        ("set put web v1", "--backend"),
        ("set put web v1 --backend app.example", "names are not looked up"),
        ("set put -web v1 --backend 10.1.0.2", "-w"),
        ("status --host tcp://10.0.0.1", "unix:///"),
        ("receipt show last", "last"),
    ];
    for (line, words) in lines {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        let text = error.to_string();
        assert!(text.contains(words), "{line}: '{words}' is not in: {text}");
    }
}

fn client(socket: &Path) -> Client {
    let line = format!("--host unix://{} status", socket.display());
    Client::new(&parse(&line).unwrap().host)
}

/// An agent that takes one request and answers these bytes.
fn answering(directory: &TempDir, answer: &'static str) -> Client {
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    client(&socket)
}

async fn change(client: &Client) -> Result<ChangesDocument, ApiError> {
    client
        .change(Method::POST, "/v1/apply", &(), Duration::from_secs(5))
        .await
}

#[tokio::test]
async fn no_agent_is_exit_5() {
    let directory = TempDir::new().unwrap();
    let error = change(&client(&directory.path().join("s"))).await.unwrap_err();
    assert_eq!(error.code.exit_code(), 5);
    assert!(
        error.message.contains("nothing was sent") && error.message.contains("switcher agent"),
        "{error}"
    );
    // A dead agent's socket.
    drop(UnixListener::bind(directory.path().join("s")).unwrap());
    let error = change(&client(&directory.path().join("s"))).await.unwrap_err();
    assert_eq!(error.code.exit_code(), 5);
}

#[tokio::test]
async fn a_change_whose_answer_is_cut_off_is_exit_7_and_a_question_is_exit_1() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let directory = TempDir::new().unwrap();
        let error = change(&answering(&directory, answer)).await.unwrap_err();
        assert_eq!(error.code.exit_code(), 7, "{answer}: {error}");
        assert!(error.message.contains("switcher status"), "{error}");
        let directory = TempDir::new().unwrap();
        let asked = answering(&directory, answer)
            .get::<AliasesDocument>("/v1/aliases")
            .await;
        assert_eq!(asked.unwrap_err().code.exit_code(), 1, "{answer}");
    }
}

#[tokio::test]
async fn the_agents_refusal_is_the_commands() {
    let directory = TempDir::new().unwrap();
    let answer = "HTTP/1.1 409 Conflict\r\ncontent-length: 60\r\n\r\n{\"schema\":1,\"code\":\"busy\",\"message\":\"another\",\"field\":null}  ";
    let error = change(&answering(&directory, answer)).await.unwrap_err();
    assert_eq!((error.code.exit_code(), error.message.as_str()), (6, "another"));
}

#[tokio::test]
async fn an_upgrade_whose_agent_stops_is_exit_7() {
    let directory = TempDir::new().unwrap();
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"event\":\"draining\",\"schema\":1,\"epoch\":2,\"pending\":1,\"established\":0,\"left_ms\":5}\n";
    let client = answering(&directory, answer);
    let mut seen = Vec::new();
    let end = client
        .follow("/v1/upgrade", &(), Duration::from_secs(5), |at| {
            seen.push(at.clone());
            std::ops::ControlFlow::Continue(())
        })
        .await;
    assert_eq!(end.unwrap_err().code.exit_code(), 7);
    assert!(matches!(seen[..], [Progress::Draining { pending: 1, .. }]), "{seen:?}");
}

#[test]
fn an_error_of_the_agent_gets_its_line() {
    let text = "version: 1\nstack: s\naliases:\n  web:\n    listen: ['198.51.100.10:80/tcp']\n    split: {v1: 1}\n    sets:\n      v1: {backends: ['10.1.0.2']}\n";
    let spans = crate::config::parse(text, "stack.yaml").unwrap().spans;
    let error = ApiError {
        field: Some("aliases.web.sets.v1.backends[0]".to_owned()),
        ..ApiError::new(ErrorCode::Invalid, "it is the host itself")
    };
    let placed = apply::placed(error.clone(), "stack.yaml", &spans).message;
    assert_eq!(
        placed,
        "stack.yaml:8:23: aliases.web.sets.v1.backends[0]: it is the host itself"
    );
    let bare = ApiError { field: None, ..error };
    assert_eq!(apply::placed(bare.clone(), "stack.yaml", &spans), bare);
}

#[tokio::test]
async fn detach_leaves_the_data_path_of_a_live_agent_alone() {
    let directory = TempDir::new().unwrap();
    let links = format!("switcher/v{}/links", switcher_ebpf::abi::ABI_VERSION);
    let links = directory.path().join(links);
    fs::create_dir_all(&links).unwrap();
    let link = links.join("one");
    fs::write(&link, "").unwrap();
    let held = crate::agent::PinsLock::take(directory.path()).unwrap();
    let error = detach::directly(directory.path(), Some(directory.path()))
        .await
        .unwrap_err();
    assert_eq!(error.code.exit_code(), 1);
    assert!(
        error.message.contains("not at this socket") && error.message.contains("--host"),
        "{error}"
    );
    assert!(link.exists());
    drop(held);
    let socket = directory.path().join("s");
    assert!(client(&socket).nobody_listens());
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(!client(&socket).nobody_listens());
    detach::directly(directory.path(), Some(directory.path()))
        .await
        .unwrap();
    assert!(!link.exists());
}

#[tokio::test]
async fn a_command_that_stopped_waiting_hears_so() {
    let directory = TempDir::new().unwrap();
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"event\":\"still_running\",\"schema\":1}\n";
    let client = answering(&directory, answer);
    let end = client
        .follow("/v1/upgrade", &(), Duration::from_secs(5), |_| {
            std::ops::ControlFlow::Continue(())
        })
        .await;
    assert_eq!(end.unwrap(), Progress::StillRunning { schema: 1 });
}

#[test]
fn an_empty_variable_is_none() {
    let reads_it = |variable: Option<&str>| {
        let command = command(variable.map(OsStr::new));
        let mut arguments = command.get_arguments();
        arguments.any(|argument| argument.get_env() == Some(OsStr::new("SWITCHER_HOST")))
    };
    assert!(!reads_it(Some("")));
    assert!(reads_it(Some("unix:///a")) && reads_it(None));
}
