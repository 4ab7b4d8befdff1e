//! Networks of the project's own.

use std::time::Duration;

use switcher_tests::interrupt;

use crate::docker::{Site, all_answered};

const SETTLE: Duration = Duration::from_secs(2);
const NETWORKS: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}
  app: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"], scale: 2}
";

#[test]
fn a_network_of_the_projects_own_is_found_by_itself_inside_and_outside() {
    let site = Site::new();
    site.compose(&site.file(NETWORKS), "up -d").expect_code(&[0]).unwrap();
    let client = site.client_container_on("shop_default");
    assert_eq!(site.ask_outside(), "v1");
    assert_eq!(
        site.ask_inside("http://lb:8000/"),
        "v1",
        "by the name, through Docker's own resolver"
    );
    let mut inside = site.load_inside(&client, &site.own_address("lb"));
    let mut outside = site.load_outside();
    interrupt::sleep(SETTLE).unwrap();
    all_answered(&mut inside);
    all_answered(&mut outside);
}
