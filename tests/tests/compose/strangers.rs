//! What others made: containers of the project, and aliases of the same name.

use std::time::Duration;

use crate::docker::Site;

const LIMIT: Duration = Duration::from_secs(15);

const SHOP: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}
  app: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"]}
";

#[test]
fn containers_of_others_are_named_and_not_touched() {
    let site = Site::new();
    let up = |text: &str| {
        let outcome = site.compose(&site.file(text), "up -d");
        outcome.expect_code(&[0]).unwrap().stderr
    };
    let two = format!("{SHOP}  old: {{image: \"flaccid/countdown_example:v2\", ports: [\"80\"]}}\n");
    let said = up(&two.replace("[app]", "[app, old]"));
    assert!(!said.contains("not touched"), "{said}");
    let labels = "--label com.docker.compose.project=shop --label com.docker.compose.service=app";
    let image = "--network shop_default -p 80 flaccid/countdown_example:v1";
    site.dockerd.docker(&format!("run -d --name mine {labels} {image}"));
    let numbered = "--label com.docker.compose.container-number=9 --label com.docker.compose.config-hash";
    let hash = "a".repeat(64);
    site.dockerd
        .docker(&format!("run -d --name composed {labels} {numbered}={hash} {image}"));
    site.wait("they serve", LIMIT, || site.backends("lb", "app") == 3);
    // An alias of yesterday leads to what is in no file any more.
    site.expect("alias put by-hand --listen 10.0.0.1:8001/tcp", 0);
    site.expect(
        &format!("set put by-hand any --backend {}:80", site.address("shop-old-1")),
        0,
    );
    site.expect("split by-hand any=1", 0);
    let said = up(SHOP);
    for words in [
        "container mine is of service 'app' and was made by hand",
        "alias lb (set app); it was not touched: remove it with: docker rm -f mine",
        "container composed is of service 'app' and was made by docker-compose",
        "container shop-old-1 is of service 'old', which is not in the files; it still serves alias by-hand (set any)",
        "remove it with: docker rm -f shop-old-1",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(
        (site.names(), site.backends("lb", "app")),
        (vec!["shop-app-1".to_owned(), "shop-old-1".to_owned()], 3)
    );
}

#[test]
fn an_alias_of_somebody_else_is_refused_before_anything_is_made_and_taken_over_by_force() {
    let site = Site::new();
    let up = |text: &str, words: &str, code: i32| {
        let outcome = site.compose(&site.file(text), &format!("up -d {words}"));
        outcome.expect_code(&[code]).unwrap().stderr
    };
    let nothing: [&str; 0] = [];
    site.expect("alias put lb --listen 10.0.0.1:9000/tcp", 0);
    let said = up(SHOP, "", 1);
    assert!(said.contains("alias 'lb'") && said.contains("made by hand"), "{said}");
    assert_eq!(site.names(), nothing);
    up(SHOP, "--force", 0);
    assert_eq!(site.ask_outside(), "v1");
    let other = SHOP.replace("name: shop", "name: other").replace(":v1", ":v2");
    let said = up(&other, "", 1);
    assert!(said.contains("belongs to stack 'shop'"), "{said}");
    assert_eq!(site.names(), ["shop-app-1"]);
    up(&other, "--force", 0);
    assert_eq!(site.ask_outside(), "v2");
    // The first project is told so in its turn, by each of its verbs.
    for line in ["up -d", "up -d --rollback", "upgrade app app2"] {
        let text = format!("{SHOP}  app2: {{image: \"flaccid/countdown_example:v1\", ports: [\"80\"]}}\n");
        let refused = site.compose(&site.file(&text), line);
        let said = refused.stderr;
        assert!(
            refused.code == 1 && said.contains("belongs to stack 'other'"),
            "{line}: {said}"
        );
    }
}

#[test]
fn the_port_of_ssh_is_taken_only_by_force() {
    let site = Site::new();
    let text = SHOP.replace("8000:80", "10.0.0.1:22:80");
    let refused = site.compose(&site.file(&text), "up -d").expect_code(&[1]).unwrap();
    assert!(
        refused.stderr.contains("SSH") && refused.stderr.contains("--force"),
        "{}",
        refused.stderr
    );
    site.compose(&site.file(&text), "up -d --force")
        .expect_code(&[0])
        .unwrap();
    let asked = site
        .lab
        .client()
        .run(&["curl", "-sS", "--max-time", "5", "http://10.0.0.1:22/"])
        .unwrap();
    assert!(
        asked.stdout.contains("v1") || asked.stderr.contains("not allowed"),
        "{}{}",
        asked.stdout,
        asked.stderr
    );
}
