//! Who is waited for, and until when: connections at the port that an alias leads to.

use std::time::Duration;

use crate::docker::{Site, all_answered};

const LIMIT: Duration = Duration::from_secs(15);
/// Answers at another port at once, and where it serves only after a file is there.
const LATE: &str = "command: [\"/bin/sh\", \"-c\", \"/bin/busybox httpd -p 9100 -h /tmp; \
                    while [ ! -e /tmp/go ]; do sleep 0.1; done; exec /usr/sbin/nginx -c /etc/nginx.conf -e /dev/null\"]";

fn text(link: &str, v1: &str, v2: &str) -> String {
    format!(
        "\
name: shop
services:
  lb: {{image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [{link}]}}
  v1: {{image: \"flaccid/countdown_example:v1\", ports: [\"80\"]{v1}}}
  v2: {{image: \"flaccid/countdown_example:v2\", ports: [\"80\"], expose: [\"9100\"]{v2}}}
"
    )
}

#[test]
fn a_container_is_waited_for_until_it_takes_connections_where_the_alias_leads() {
    let site = Site::new();
    let late = format!(", {LATE}");
    let first = text("v1", "", ", scale: 0");
    site.compose(&site.file(&first), "up -d").expect_code(&[0]).unwrap();
    let mut load = site.load_outside();
    let refused = site.compose(&site.file(&text("v2", "", &late)), "up -d --timeout 4s");
    let said = refused.expect_code(&[1]).unwrap().stderr;
    assert!(said.contains("it takes no connection at port 80 yet"), "{said}");
    assert!(said.contains("no traffic was moved"), "{said}");
    assert_eq!(site.ask_outside(), "v1");
    // Linked beside the other one by hand, it is no backend either.
    let both = site.compose(&site.file(&text("v1, v2", "", &late)), "up -d --timeout 4s");
    both.expect_code(&[1]).unwrap();
    assert_eq!(all_answered(&mut load).answers.keys().collect::<Vec<_>>(), ["v1"]);

    site.dockerd.docker("exec shop-v2-1 /bin/busybox touch /tmp/go");
    let mut load = site.load_outside();
    site.compose(&site.file(&text("v2", "", &late)), "up -d")
        .expect_code(&[0])
        .unwrap();
    assert_eq!(site.ask_outside(), "v2");
    // A new one of its kind starts without serving: Docker runs it, and no connection goes there.
    let two = format!("{late}, scale: 2");
    let refused = site.compose(&site.file(&text("v2", "", &two)), "up -d --timeout 4s");
    refused.expect_code(&[1]).unwrap();
    assert_eq!(site.backends("lb", "v2"), 1);
    site.dockerd.docker("exec shop-v2-2 /bin/busybox touch /tmp/go");
    site.wait("the second serves", LIMIT, || site.backends("lb", "v2") == 2);
    let _ = all_answered(&mut load);
}

/// Labels name no port: the alias's listener does.
#[test]
fn a_labelled_container_serves_once_it_takes_connections_where_the_alias_leads() {
    let site = Site::new();
    site.expect("alias put web --listen 10.0.0.1:80/tcp", 0);
    let late = "/bin/busybox httpd -p 9100 -h /tmp; while [ ! -e /tmp/go ]; do sleep 0.1; done; exec nginx";
    let late = late.replace("exec nginx", "exec /usr/sbin/nginx -c /etc/nginx.conf -e /dev/null");
    let words = "run -d --name one --label switcher.alias=web --label switcher.set=v1 -p 80 --expose 9100 \
                 flaccid/countdown_example:v1 /bin/sh -c";
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.push(&late);
    site.dockerd.try_docker(&words).expect_code(&[0]).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(site.sets("web"), Vec::<String>::new(), "it serves nowhere yet");
    site.dockerd.docker("exec one /bin/busybox touch /tmp/go");
    site.wait("it is a backend", LIMIT, || site.sets("web") == ["v1"]);
}

#[test]
fn what_no_alias_leads_to_and_what_is_sick_among_others_hold_up_nothing() {
    let site = Site::new();
    site.dockerd.image("sick", "v1", Some("[ ! -e /tmp/sick ]"));
    let v1 = |more: &str| text("v1", more, ", scale: 0").replace("flaccid/countdown_example:v1", "sick");
    site.compose(&site.file(&v1(", scale: 2")), "up -d")
        .expect_code(&[0])
        .unwrap();
    site.dockerd.docker("exec shop-v1-2 /bin/busybox touch /tmp/sick");
    site.wait("one of two is sick", LIMIT, || site.backends("lb", "v1") == 1);
    // Another address for the same: carried out, beside the sick one.
    let both = v1(", scale: 2").replace("\"8000:80\"", "\"8000:80\", \"8001:80\"");
    let done = site.compose(&site.file(&both), "up -d").expect_code(&[0]).unwrap();
    assert!(
        done.stderr
            .contains("warning: container shop-v1-2: its health check fails"),
        "{}",
        done.stderr
    );
    // Nor does the sick one hold up the way back to the other.
    let new = both.replace("\"sick\"", "\"flaccid/countdown_example:v2\"");
    site.compose(&site.file(&new), "up -d --upgrade")
        .expect_code(&[0])
        .unwrap();
    let back = site
        .compose(&site.file(&new), "up -d --rollback")
        .expect_code(&[0])
        .unwrap();
    assert!(
        back.stderr.contains("shop-v1-2: its health check fails"),
        "{}",
        back.stderr
    );
    assert_eq!((site.ask_outside().as_str(), site.names().len()), ("v1", 2));
    let mut load = site.load_outside();

    // All of the old version is sick: that is why connections are to leave it.
    site.dockerd.docker("exec shop-v1-1 /bin/busybox touch /tmp/sick");
    let away = text("v2", ", scale: 2", "").replace("flaccid/countdown_example:v1", "sick");
    site.wait("both are sick", LIMIT, || {
        site.expect("status", 0).stdout.contains("no container of it is ready")
    });
    let done = site.compose(&site.file(&away), "up -d").expect_code(&[0]).unwrap();
    assert!(done.stderr.contains("it is not waited for"), "{}", done.stderr);
    assert_eq!(site.ask_outside(), "v2");
    let _ = all_answered(&mut load);
}
