//! Every check holds on a sound run, and each fails alone when its own thing is wrong.

use serde_json::json;

use super::*;
use crate::demo::accounts::Logged;
use crate::lab::LogEntry;
use crate::traffic::AnswerRun;

/// A run with one request on each kept-alive connection before the first switch and after the last.
struct Sound {
    load: LoadReport,
    pings: Vec<Ping>,
    rows: Vec<Row>,
    host_switches: Vec<Switch>,
    restart: Restart,
    flows_opened: u64,
    share: SampleReport,
    quiet: QuietTimes,
    switches: Vec<Switch>,
    drained: Switch,
    accounts: Accounts,
}

fn switch(command: &str, serving: &[&'static str], exit_code: i32, left: Option<u64>, at_us: u64) -> Switch {
    Switch {
        command: command.to_owned(),
        serving: serving.to_vec(),
        exit_code,
        took_ms: 10.0,
        began_us: at_us,
        ended_us: at_us + 10,
        flows_left: left,
        syns_at_old: (serving.len() == 1).then_some(0),
        receipt: json!({
            "epoch_after": at_us, "unpinned_flows": 0, "last_new_flows": [{"before_flip_end": true}],
        }),
    }
}

fn transfer(id: &str) -> TransferReport {
    TransferReport {
        id: id.to_owned(),
        local: None,
        version: Some("v1".to_owned()),
        bytes: TRANSFER_BYTES,
        began_us: 1,
        ended_us: 999,
        failure: None,
    }
}

fn sound_share() -> SampleReport {
    let half = u64::from(SAMPLE) / 2;
    SampleReport {
        run: "share".to_owned(),
        connections: u64::from(SAMPLE),
        answers: [("v1".to_owned(), half), ("v2".to_owned(), half)].into(),
        ..SampleReport::default()
    }
}

/// One on a new and one on a long conversation before the first switch and after each.
fn sound_pings() -> Vec<Ping> {
    let ping = |(sent_us, version): (u64, &str), fresh| Ping {
        target: SocketAddr::from(([198, 51, 100, 10], 80)),
        port: if fresh { u16::try_from(sent_us).unwrap() } else { 7 },
        sent_us,
        ended_us: sent_us + 1,
        fresh,
        answer: Some(version.to_owned()),
    };
    let times = [(50, "v1"), (150, "v1"), (250, "v2"), (350, "v1")];
    let both = |at| [ping(at, true), ping(at, false)];
    times.into_iter().flat_map(both).collect()
}

/// A client with a request on each kept-alive connection, and fresh ones when the pings are.
fn sound_row() -> Row {
    let (kept, fresh) = (clients::KEPT_ALIVE as u64, sound_fresh());
    let due = kept + 4;
    let kept_alive = (0..kept).map(|_| KeptReport {
        local: SocketAddr::from(([10, 2, 0, 2], 4000)),
        target: SocketAddr::from(([198, 51, 100, 10], 80)),
        answers: vec![AnswerRun {
            version: "v1".to_owned(),
            count: 1,
            first_us: 1,
            last_us: 999,
        }],
        ended: None,
    });
    Row {
        name: "a container",
        local: true,
        of_host: false,
        pinged: true,
        load: LoadReport {
            run: "container".to_owned(),
            due,
            ok: due,
            kept_alive: kept_alive.collect(),
            fresh_began_us: fresh,
            pings: sound_pings(),
            ..LoadReport::default()
        },
    }
}

fn sound_fresh() -> BTreeMap<String, Vec<u64>> {
    [("v1".to_owned(), vec![50, 150, 350]), ("v2".to_owned(), vec![250])].into()
}

/// Of the row alone.
const SOUND_OF_ROW: u64 = clients::KEPT_ALIVE as u64 + 4 + 4 + 1;
/// What the kernel has counted of a sound run: of each of two clients its kept-alive and its 4 fresh connections and 4 fresh pings; a
/// long conversation, of the client outside once for each of 4 images; the transfers and the sample.
const SOUND_OPENED: u64 = (KEPT_ALIVE + clients::KEPT_ALIVE) as u64 + 2 * (4 + 4) + (4 + 1) + 2 + SAMPLE as u64;

/// After the last ping.
const RESTART: Restart = Restart {
    began_us: 500,
    ended_us: 510,
    opened_before: 10,
    opened_after: 11,
    adopted: true,
};

const QUIET: QuietTimes = QuietTimes {
    upgrades: 20,
    median_ms: 10.0,
    max_ms: 90.0,
    least_ms: 9.0,
};

fn sound() -> Sound {
    let local = |number: usize| SocketAddr::from(([10, 200, 0, 1], 5000 + u16::try_from(number).unwrap()));
    let kept = |number: usize| KeptReport {
        local: local(number),
        target: SocketAddr::from(([198, 51, 100, 10], 80)),
        answers: vec![AnswerRun {
            version: "v1".to_owned(),
            count: 2,
            first_us: 1,
            last_us: 999,
        }],
        ended: None,
    };
    let entry = |number: usize, request: u64| LogEntry {
        id: format!("load-{}", number as u64 * 2 + request),
        remote: local(number),
        connection: number as u64,
        request_of_connection: request,
        status: 200,
        request_bytes: 100,
    };
    let due = 2 * KEPT_ALIVE as u64;
    let load = LoadReport {
        run: "load".to_owned(),
        due,
        ok: due,
        kept_alive: (0..KEPT_ALIVE).map(kept).collect(),
        fresh_began_us: sound_fresh(),
        upload: Some(transfer("load-upload")),
        download: Some(transfer("load-download")),
        ..LoadReport::default()
    };
    let share = sound_share();
    let ids = (0..due)
        .map(|n| format!("load-{n}"))
        .chain((0..share.connections).map(|n| format!("share-{n}")));
    let rows = vec![sound_row()];
    let ids = ids.chain((0..rows[0].load.due).map(|n| format!("container-{n}")));
    let ids = ids.chain(["load-upload".to_owned(), "load-download".to_owned()]);
    let accounts = Accounts {
        logged: ids.map(|id| (id, Logged { times: 1, successes: 1 })).collect(),
        v1_log: (0..KEPT_ALIVE).flat_map(|n| [entry(n, 0), entry(n, 1)]).collect(),
        syns: [500, 500],
        resets: 0,
        resets_after_the_end: 1,
        missed: 0,
        upload_fault: None,
    };
    Sound {
        load,
        pings: sound_pings(),
        rows,
        host_switches: Vec::new(),
        restart: RESTART,
        flows_opened: SOUND_OPENED,
        share,
        quiet: QUIET,
        switches: vec![
            switch("switcher apply -f shop-canary.yaml", &["v1", "v2"], 0, None, 100),
            switch(
                "switcher upgrade web --from v1 --to v2",
                &["v2"],
                4,
                Some(KEPT_ALIVE as u64),
                200,
            ),
            switch("switcher rollback web", &["v1", "v2"], 0, None, 300),
        ],
        drained: switch("switcher upgrade web --to v1", &["v1"], 0, Some(0), 400),
        accounts,
    }
}

/// The names of the checks that fail.
fn failing(run: &Sound) -> Vec<&'static str> {
    let checks = judge(&Findings {
        load: &run.load,
        pings: &run.pings,
        rows: &run.rows,
        host_switches: &run.host_switches,
        restart: &run.restart,
        flows_opened: run.flows_opened,
        share: &run.share,
        quiet: &run.quiet,
        switches: &run.switches,
        drained: &run.drained,
        accounts: &run.accounts,
    });
    checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| check.name)
        .collect()
}

#[test]
fn a_sound_run_holds() {
    assert!(failing(&sound()).is_empty(), "{:?}", failing(&sound()));
}

type Fault = fn(&mut Sound);

/// A check, and one thing that makes it alone fail.
const FAULTS: &[(&str, Fault)] = &[
    ("every request ended exactly once", |run| run.load.ok -= 1),
    ("no request failed or was late", |run| {
        (run.load.ok, run.load.failed) = (run.load.ok - 1, 1)
    }),
    ("no request failed or was late", |run| {
        (run.load.ok, run.load.late) = (run.load.ok - 1, 1)
    }),
    ("no connection was reset", |run| run.load.resets = 1),
    ("no connection was reset", |run| run.accounts.resets = 1),
    ("no connection was reset", |run| run.accounts.missed = 1),
    ("nginx's logs hold each id exactly once", |run| {
        run.accounts
            .logged
            .insert("load-7".to_owned(), Logged { times: 2, successes: 2 });
    }),
    ("nginx's logs hold each id exactly once", |run| {
        run.accounts
            .logged
            .insert("load-7".to_owned(), Logged { times: 1, successes: 0 });
    }),
    ("nginx's logs hold each id exactly once", |run| {
        run.accounts.logged.retain(|id, _| id != "share-9999")
    }),
    ("nginx's logs hold each id exactly once", |run| {
        run.accounts
            .logged
            .insert("stranger".to_owned(), Logged { times: 1, successes: 1 });
    }),
    ("kept-alive connections stay", |run| {
        run.load.kept_alive[5].answers[0].version = "v2".to_owned()
    }),
    ("kept-alive connections stay", |run| {
        run.load.kept_alive[5].answers[0].first_us = 150
    }),
    ("kept-alive connections stay", |run| {
        run.load.kept_alive[5].answers[0].last_us = 305
    }),
    ("kept-alive connections stay", |run| {
        run.load.kept_alive[5].ended = Some("reset".to_owned())
    }),
    ("kept-alive connections stay", |run| {
        run.load.kept_alive.pop();
        run.flows_opened -= 1;
    }),
    ("kept-alive connections stay", |run| {
        run.accounts.v1_log[11].connection = 999
    }),
    ("kept-alive connections stay", |run| {
        run.accounts.v1_log[11].remote.set_port(1)
    }),
    ("the upload is whole", |run| {
        run.accounts.upload_fault = Some("byte 7".to_owned())
    }),
    ("the upload is whole", |run| {
        run.load.upload.as_mut().unwrap().ended_us = 305
    }),
    ("the download is whole", |run| {
        run.load.download.as_mut().unwrap().failure = Some("byte 7".to_owned())
    }),
    ("the download is whole", |run| {
        run.load.download.as_mut().unwrap().bytes -= 1
    }),
    ("50/50 is 50/50", |run| {
        run.share.answers = [("v1".to_owned(), 4799), ("v2".to_owned(), 5201)].into();
    }),
    ("50/50 is 50/50", |run| {
        *run.share.answers.entry("v1".to_owned()).or_default() -= 1
    }),
    ("a switch is final when the command returns", |run| {
        run.switches[1].syns_at_old = Some(1)
    }),
    ("a switch is final when the command returns", |run| {
        run.accounts.syns[0] = 0
    }),
    ("every UDP ping is answered", |run| run.pings[4].answer = None),
    ("every UDP ping is answered", |run| {
        run.pings.retain(|ping| !ping.fresh);
        run.flows_opened -= 4;
    }),
    ("a switch is final for UDP too", |run| {
        run.pings[4].answer = Some("v1".to_owned())
    }),
    ("a switch is final for UDP too", |run| {
        run.pings[5].answer = Some("v1".to_owned())
    }),
    ("flows opened are what clients opened", |run| run.flows_opened -= 1),
    ("flows opened are what clients opened", |run| run.flows_opened += 1),
    ("an agent killed under load is adopted", |run| {
        run.restart.adopted = false
    }),
    ("an agent killed under load is adopted", |run| {
        run.restart.opened_after = 10
    }),
    ("a container", |run| {
        // Processes of the host have no switch here that it could have followed.
        (run.rows[0].of_host, run.flows_opened) = (true, run.flows_opened - SOUND_OF_ROW);
        run.accounts.logged.retain(|id, _| !id.starts_with("container-"));
    }),
    ("a client outside", |run| {
        run.load.fresh_began_us = [("v1".to_owned(), vec![50, 150, 250, 350])].into();
    }),
    ("a container", |run| {
        (run.rows[0].load.ok, run.rows[0].load.late) = (run.rows[0].load.ok - 1, 1);
    }),
    ("a container", |run| run.rows[0].load.resets = 1),
    ("a container", |run| run.rows[0].load.ok -= 1),
    ("a container", |run| run.rows[0].load.pings[1].answer = None),
    ("a container", |run| {
        run.rows[0].load.pings[4].answer = Some("v1".to_owned());
    }),
    ("a container", |run| {
        run.rows[0].load.fresh_began_us = [("v1".to_owned(), vec![50, 150, 250, 350])].into();
    }),
    ("a container", |run| {
        run.rows[0].load.kept_alive[1].ended = Some("reset".to_owned())
    }),
    ("exit codes say what is left", |run| run.switches[1].exit_code = 0),
    ("exit codes say what is left", |run| {
        run.switches[1].flows_left = Some(KEPT_ALIVE as u64 - 1)
    }),
    ("exit codes say what is left", |run| run.switches[2].exit_code = 4),
    ("with nobody connected the upgrade says 0", |run| {
        run.drained.exit_code = 4
    }),
    ("with nobody connected the upgrade says 0", |run| {
        run.drained.flows_left = None
    }),
    ("the command is quick with no flow to drain", |run| {
        run.quiet.median_ms = 50.0
    }),
    ("the receipts agree", |run| {
        run.switches[2].receipt["epoch_after"] = json!(200)
    }),
    ("the receipts agree", |run| {
        run.switches[1].receipt["unpinned_flows"] = json!(1)
    }),
    ("the receipts agree", |run| {
        run.switches[1].receipt["last_new_flows"] = json!([{"before_flip_end": false}]);
    }),
];

/// On a quick machine the time counts, on a slow one what it takes beside the least; each side of both bounds.
#[test]
fn the_command_is_judged_by_the_machine_that_it_ran_on() {
    for (median_ms, least_ms, is_quick) in [
        (49.9, 9.0, true),
        (50.0, 9.0, false),
        (54.1, 20.0, false),
        (54.1, 22.0, true),
        (150.0, 60.0, true),
        (150.1, 60.0, false),
    ] {
        let mut run = sound();
        (run.quiet.median_ms, run.quiet.least_ms) = (median_ms, least_ms);
        let found = failing(&run);
        assert_eq!(found.is_empty(), is_quick, "{median_ms} of {least_ms}: {found:?}");
        let text = run.quiet.text();
        for figure in [format!("median {median_ms:.1} ms"), format!("{least_ms:.1} ms that")] {
            assert!(text.contains(&figure), "{text}");
        }
    }
}

#[test]
fn each_fault_is_found_by_its_own_check() {
    for (number, (name, fault)) in FAULTS.iter().enumerate() {
        let mut run = sound();
        fault(&mut run);
        // The row of the client outside says again what other checks say of it.
        let found: Vec<&str> = failing(&run)
            .into_iter()
            .filter(|found| found == name || *found != "a client outside")
            .collect();
        assert_eq!(found, [*name], "fault {number}");
    }
}
