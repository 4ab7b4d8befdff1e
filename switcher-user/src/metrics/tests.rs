use std::collections::BTreeSet;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Format, MetricsError, MetricsServer, render};
use crate::api::{Envelope, Reply, StatusDocument};

/// What an agent with one alias says.
fn status() -> StatusDocument {
    let counters = serde_json::json!({
        "flows_opened": 12, "flows_established": 11, "flows_refused": 1, "flows_finished": 5, "flows_reset_by_client": 2,
        "flows_reset_by_backend": 3, "flows_reset_by_drain": 7, "flows_expired": 4, "flows_unpinned": 6, "packets_in": 100, "bytes_in": 2_000,
        "packets_out": 90, "bytes_out": 18_446_744_073_709_551_615_u64, "last_new_flow_ns": 4_000_000_000_u64,
    });
    let mut histogram = vec![0_u64; 32];
    (histogram[0], histogram[7], histogram[8], histogram[9], histogram[31]) = (1, 2, 3, 3, 4);
    let of = |sum_us: u64, buckets: &[u64]| serde_json::json!({"sum_us": sum_us, "buckets": buckets});
    let mut latent = counters.clone();
    let none = of(0, &[0; 32]);
    latent["latency"] =
        serde_json::json!({"answer": of(1_500_000, &histogram), "handshake": none, "first_reply": none});
    let idle = serde_json::json!({"pending": 0, "established": 0, "closing": 0});
    let quiet: serde_json::Map<_, _> = counters
        .as_object()
        .unwrap()
        .keys()
        .map(|key| (key.clone(), 0.into()))
        .collect();
    let flip = serde_json::json!({"before_ns": 4_400_000_000_u64, "after_ns": 4_500_000_000_u64, "at": "2023-11-14T22:13:20Z"});
    serde_json::from_value(serde_json::json!({
        "schema": 1, "version": "1.2.3", "pid": 7, "epoch": 9, "last_flip": flip,
        "clock": {"monotonic_ns": 5_000_000_000_u64, "unix_ns": 1_700_000_000_000_000_000_u64},
        "attached": [{"interface": "eth0", "role": "edge", "hook": "tc", "why": "--hook tc"}], "firewall": [], "notes": ["one"], "unpinned_flows": 6,
        "flow_table": {"flows": {"pending": 1, "established": 2, "closing": 3}, "of_removed_sets": 2, "capacity": 9},
        "reasons": [{"reason": "no_flow", "packets": 8}, {"reason": "rewrite_failed", "packets": 0}],
        "aliases": [{
            "name": "web", "stack": null, "listen": [], "path": "auto", "running": "upgrade of web to v2", "switched": flip,
            "last_change": {"receipt": 41, "action": "upgrade", "outcome": "flows_left", "command_us": 2_500_000, "flows_left": 3},
            "split": {"v2": 1}, "previous": {"v1": 1},
            "sets": [
                {"name": "v1", "weight": 0, "share": 0.0, "counters": latent, "backends": [],
                 "flows": {"pending": 1, "established": 2, "closing": 3}},
                {"name": "v2", "weight": 1, "share": 1.0, "counters": quiet, "flows": idle, "backends": []},
            ],
        }],
    }))
    .unwrap()
}

#[test]
fn a_snapshot_is_rendered_by_prometheuss_conventions() {
    let page = render(status(), Format::Classic).unwrap();
    let samples = [
        "switcher_build_info{version=\"1.2.3\",abi_version=\"",
        "\nswitcher_epoch 9\n",
        "\nswitcher_last_flip_timestamp_seconds 1699999999.5\n",
        "\nswitcher_attached_interfaces{role=\"backend\"} 0\n",
        "\nswitcher_flow_table_flows{state=\"closing\"} 3\n",
        "\nswitcher_flow_table_capacity{slots=\"established\"} 262144\n",
        "\n# TYPE switcher_verdict_packets_total counter\n",
        "\nswitcher_verdict_packets_total{reason=\"no_flow\",action=\"passed\"} 8\n",
        "\nswitcher_verdict_packets_total{reason=\"rewrite_failed\",action=\"dropped\"} 0\n",
        "\nswitcher_alias_switched_timestamp_seconds{alias=\"web\"} 1699999999.5\n",
        "\nswitcher_alias_upgrade_running{alias=\"web\"} 1\n",
        "\nswitcher_alias_last_change{alias=\"web\",action=\"upgrade\",outcome=\"flows_left\"} 1\n",
        "\nswitcher_alias_last_receipt{alias=\"web\"} 41\n",
        "\nswitcher_alias_last_change_duration_seconds{alias=\"web\"} 2.5\n",
        "\nswitcher_alias_last_change_flows_left{alias=\"web\"} 3\n",
        "\nswitcher_set_share_ratio{alias=\"web\",set=\"v2\"} 1.0\n",
        "\nswitcher_set_last_new_flow_timestamp_seconds{alias=\"web\",set=\"v1\"} 1699999999.0\n",
        "\nswitcher_active_flows{alias=\"web\",set=\"v1\",state=\"established\"} 2\n",
        "\nswitcher_flows_opened_total{alias=\"web\",set=\"v1\"} 12\n",
        "\nswitcher_flows_closed_total{alias=\"web\",set=\"v1\",cause=\"reset_by_backend\"} 3\n",
        "\nswitcher_flows_closed_total{alias=\"web\",set=\"v1\",cause=\"reset_by_drain\"} 7\n",
        "\n# TYPE switcher_answer_seconds histogram\n",
        "\nswitcher_answer_seconds_sum{alias=\"web\",set=\"v1\"} 1.5\n",
        "\nswitcher_answer_seconds_count{alias=\"web\",set=\"v1\"} 13\n",
        "\nswitcher_answer_seconds_bucket{alias=\"web\",set=\"v1\",le=\"0.000256\"} 6\n",
        "\nswitcher_answer_seconds_bucket{alias=\"web\",set=\"v1\",le=\"0.001024\"} 9\n",
        "\nswitcher_answer_seconds_bucket{alias=\"web\",set=\"v1\",le=\"16.777216\"} 9\n",
        "\nswitcher_answer_seconds_bucket{alias=\"web\",set=\"v1\",le=\"+Inf\"} 13\n",
        "\n# TYPE switcher_bytes_total counter\n",
        "\nswitcher_bytes_total{alias=\"web\",set=\"v1\",direction=\"out\"} 18446744073709551615\n",
    ];
    for sample in samples {
        assert!(page.contains(sample), "{sample:?} is not in:\n{page}");
    }
    assert!(!page.contains("# EOF") && !page.contains("# UNIT"), "{page}");
    assert!(
        !page.contains("last_new_flow_timestamp_seconds{alias=\"web\",set=\"v2\"}"),
        "a set without any flow has no time:\n{page}"
    );
}

#[test]
fn the_two_formats_say_the_same() {
    let open = render(status(), Format::OpenMetrics).unwrap();
    let classic = render(status(), Format::Classic).unwrap();
    // The order of samples in a histogram, and that of labels, is each format's own.
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let mut parts: Vec<String> = series.split(['{', ',', '}']).map(str::to_owned).collect();
        parts.sort_unstable();
        format!("{parts:?} {value}")
    };
    let samples = |page: &str| -> BTreeSet<String> {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines.map(sample).collect()
    };
    assert_eq!(samples(&open), samples(&classic));
    assert!(samples(&open).len() > 40, "{open}");
    assert!(open.ends_with("\n# EOF\n"));
    assert!(
        open.contains("\n# TYPE switcher_bytes counter\n# UNIT switcher_bytes bytes\n"),
        "{open}"
    );
    assert!(open.contains("# TYPE switcher_build info\n"), "{open}");
}

/// A server in front of an agent that answers each scrape.
async fn served() -> (SocketAddr, mpsc::Sender<Envelope>) {
    let (commands, mut inbox) = mpsc::channel::<Envelope>(4);
    tokio::spawn(async move {
        while let Some(envelope) = inbox.recv().await {
            let _ = envelope.reply.send(Ok(Reply::Status(Box::new(status()))));
        }
    });
    let server = MetricsServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.serve(commands.clone()));
    (address, commands)
}

async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.to_ascii_lowercase()
}

#[tokio::test]
async fn metrics_are_read_and_nothing_else_is_there() {
    let (address, _agent) = served().await;
    let answer = ask(address, "GET /metrics HTTP/1.1").await;
    assert!(answer.starts_with("http/1.1 200 ok\r\n"), "{answer}");
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("vary: accept\r\n") && answer.contains("\nswitcher_epoch 9\n"),
        "{answer}"
    );
    let open = ask(
        address,
        "GET /metrics?x=1 HTTP/1.1\r\nAccept: application/openmetrics-text",
    )
    .await;
    assert!(
        open.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{open}"
    );
    assert!(open.ends_with("# eof\n"), "{open}");
    let head = ask(address, "HEAD /metrics HTTP/1.1").await;
    assert!(
        head.starts_with("http/1.1 200 ok\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert!(!head.contains("content-length: 0\r\n"), "{head}");
    for (request, status) in [
        ("GET / HTTP/1.1", "404"),
        ("GET /v1/status HTTP/1.1", "404"),
        ("POST /v1/detach HTTP/1.1", "404"),
        ("POST /metrics HTTP/1.1", "405"),
        ("DELETE /metrics HTTP/1.1", "405"),
    ] {
        let answer = ask(address, request).await;
        assert!(
            answer.starts_with(&format!("http/1.1 {status} ")),
            "{request}: {answer}"
        );
        assert_eq!(
            answer.contains("allow: get, head\r\n"),
            status == "405",
            "{request}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_scrape_of_an_agent_that_ends_is_told_so() {
    let server = MetricsServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address().unwrap();
    let (commands, inbox) = mpsc::channel(1);
    drop(inbox);
    tokio::spawn(server.serve(commands));
    let answer = ask(address, "GET /metrics HTTP/1.1").await;
    assert!(
        answer.starts_with("http/1.1 503 ") && answer.ends_with("the agent is stopping\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn idle_connections_are_bounded() {
    let (address, _agent) = served().await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(address).await.unwrap();
    assert_eq!(one_more.read(&mut [0]).await.unwrap_or(0), 0, "it is closed at once");
    idle.truncate(8);
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let sent = stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        let mut answer = String::new();
        if sent.is_ok() && stream.read_to_string(&mut answer).await.is_ok() && answer.contains("200 OK") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("places that are free again are given again");
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_named_with_its_remedy() {
    let first = MetricsServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let taken = first.address().unwrap();
    let MetricsError::Bind { .. } = MetricsServer::bind(taken).await.unwrap_err();
    let text = MetricsServer::bind(taken).await.unwrap_err().to_string();
    assert!(
        text.contains(&taken.to_string()) && text.contains("stop what listens there"),
        "{text}"
    );
    let elsewhere = MetricsServer::bind("192.0.2.1:9740".parse().unwrap()).await;
    let text = elsewhere.unwrap_err().to_string();
    assert!(
        text.contains("192.0.2.1:9740") && text.contains("an address of this host"),
        "{text}"
    );
}
