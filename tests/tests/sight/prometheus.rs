//! Real Prometheus looks on while the switch happens.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use switcher_tests::interrupt;
use switcher_tests::lab::{LISTENER_V4, LISTENER_V6, Lab, Process};
use switcher_tests::traffic::{Generator, LoadPlan, Plan, Sources, Work};

use crate::manual;
use crate::metrics::ground;
use crate::scrape::{METRICS, Scrape};

const PROMETHEUS: &str = "10.0.0.2:9090";
const START_LIMIT: Duration = Duration::from_secs(30);
const QUERY_LIMIT: Duration = Duration::from_secs(20);

/// Prometheus in the client's namespace.
struct Prometheus<'a> {
    _process: Process,
    lab: &'a Lab,
}

impl<'a> Prometheus<'a> {
    fn start(lab: &'a Lab) -> Self {
        let config = lab.dir().join("prometheus.yaml");
        let targets = format!("[{{targets: [\"{METRICS}\"]}}]");
        let job = format!("{{job_name: switcher, scrape_interval: 500ms, static_configs: {targets}}}");
        fs::write(&config, format!("scrape_configs: [{job}]\n")).unwrap();
        let log = fs::File::create(lab.dir().join("prometheus.log")).unwrap();
        let mut command = lab.client().server("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", lab.dir().join("tsdb").display()))
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .args(["--log.level=warn", "--storage.tsdb.retention.time=1h"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let process = Process::spawn("prometheus", &mut command, Signal::SIGTERM).unwrap();
        let this = Self { _process: process, lab };
        interrupt::wait_for("prometheus has scraped", START_LIMIT, || {
            Ok(this.ask("up{job=\"switcher\"}") == Ok(Some(1.0)))
        })
        .unwrap();
        this
    }

    /// The query's one value now; `None`: no value.
    fn ask(&self, query: &str) -> Result<Option<f64>, String> {
        let url = format!("http://{PROMETHEUS}/api/v1/query");
        let query = format!("query={query}");
        let words = ["curl", "-sS", "--max-time", "5", &url, "--data-urlencode", &query];
        let outcome = self.lab.client().run(&words).unwrap();
        let answer: serde_json::Value =
            serde_json::from_str(&outcome.stdout).map_err(|error| format!("{error}: {}", outcome.stderr))?;
        if answer["status"] != "success" {
            return Err(answer.to_string());
        }
        let series = answer["data"]["result"].as_array().unwrap();
        assert!(series.len() <= 1, "one value is asked for: {answer}");
        Ok(series
            .first()
            .map(|one| one["value"][1].as_str().unwrap().parse().unwrap()))
    }

    fn value(&self, query: &str) -> f64 {
        self.ask(query).unwrap().unwrap_or_else(|| panic!("no value: {query}"))
    }

    /// Waits until a scrape has seen what the agent says now.
    fn wait_for(&self, query: &str, value: f64) {
        let mut last = None;
        let start = Instant::now();
        while start.elapsed() < QUERY_LIMIT {
            last = self.ask(query).unwrap();
            if last == Some(value) {
                return;
            }
            interrupt::sleep(Duration::from_millis(100)).unwrap();
        }
        panic!("{query} is {last:?}, not {value}");
    }
}

fn load(lab: &Lab) -> Generator {
    let plan = Plan {
        run: "sight".to_owned(),
        targets: vec![LISTENER_V4.parse().unwrap(), LISTENER_V6.parse().unwrap()],
        sources: Sources::default(),
        work: Work::Load(LoadPlan {
            rate_per_s: 200,
            seconds_max: 60,
            kept_alive: 0,
            upload: None,
            download: None,
            pings: false,
        }),
    };
    Generator::load(lab, &plan).unwrap()
}

#[test]
fn prometheus_sees_no_new_flow_at_the_old_set_since_the_flip() {
    let ground = ground();
    let prometheus = Prometheus::start(&ground.lab);
    let mut load = load(&ground.lab);
    interrupt::sleep(Duration::from_secs(2)).unwrap();
    ground.expect("upgrade web --to v2", 0);
    let opened_v1 = Scrape::take(ground.lab.client())
        .value("switcher_flows_opened_total", &[("alias", "web"), ("set", "v1")])
        .unwrap();
    interrupt::sleep(Duration::from_secs(3)).unwrap();
    let epoch = ground.epoch() as f64;
    prometheus.wait_for("switcher_epoch", epoch);
    // Under load still: v2 has new flows all the time, v1 has none.
    let named = manual::block("no-new-flow-at-v1");
    assert_eq!(prometheus.ask(named), Ok(Some(0.0)), "{named}");
    let of_v2 = named.replace("\"v1\"", "\"v2\"");
    assert_eq!(
        prometheus.ask(&of_v2),
        Ok(Some(1.0)),
        "the query tells a set that has new flows: {of_v2}"
    );
    let any = manual::block("no-new-flow-anywhere");
    assert_eq!(prometheus.ask(any), Ok(Some(0.0)), "{any}");
    let report = load.stop().unwrap();
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(
        prometheus.value("min_over_time(up{job=\"switcher\"}[1m])"),
        1.0,
        "each scrape succeeded"
    );
    prometheus.wait_for("switcher_flows_opened_total{set=\"v1\"}", opened_v1);
    totals_are_the_receipts(&ground, &prometheus);
}

/// With nothing under way any more, what Prometheus has of each set is what the next receipt begins with.
fn totals_are_the_receipts(ground: &crate::ground::Ground, prometheus: &Prometheus<'_>) {
    interrupt::sleep(Duration::from_secs(1)).unwrap();
    let epoch = ground.epoch() as f64;
    let receipt = ground.json("rollback web --json");
    let sets = receipt["sets"].as_array().unwrap();
    assert_eq!(sets.len(), 2, "{receipt}");
    prometheus.wait_for("switcher_epoch", epoch + 1.0);
    let mut compared = 0;
    for set in sets {
        let selector = format!("alias=\"web\",set=\"{}\"", set["set"].as_str().unwrap());
        for (query, field) in [
            ("switcher_flows_opened_total{@}", "flows_opened"),
            ("switcher_flows_established_total{@}", "flows_established"),
            ("switcher_flows_closed_total{@,cause=\"finished\"}", "flows_finished"),
            ("switcher_flows_closed_total{@,cause=\"refused\"}", "flows_refused"),
            ("switcher_flows_unpinned_total{@}", "flows_unpinned"),
            ("switcher_packets_total{@,direction=\"in\"}", "packets_in"),
            ("switcher_packets_total{@,direction=\"out\"}", "packets_out"),
            ("switcher_bytes_total{@,direction=\"in\"}", "bytes_in"),
            ("switcher_bytes_total{@,direction=\"out\"}", "bytes_out"),
        ] {
            let query = query.replace('@', &selector);
            assert_eq!(Some(prometheus.value(&query)), set["before"][field].as_f64(), "{query}");
            compared += 1;
        }
        assert!(
            set["before"]["flows_finished"].as_u64() > Some(10),
            "there was traffic: {set}"
        );
    }
    assert_eq!(compared, 18);
}
