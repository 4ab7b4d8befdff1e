use super::{Agent, Finding, Level, host, kernel};
use crate::kernel::probe::{Feature, Need};

fn finding<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.check == check).unwrap()
}

fn level(findings: &[Finding], check: &str) -> Level {
    finding(findings, check).level
}

fn features(answer: &Result<bool, String>) -> Vec<Feature> {
    let of = |name, need| Feature {
        name,
        what: "it",
        need,
        answer: answer.clone(),
    };
    vec![
        of("tc", Need::Always),
        of("tcx", Need::Sometimes("clsact is used instead")),
    ]
}

fn kernel_of(release: &str, answer: &Result<bool, String>, jit: Option<&str>) -> Vec<Finding> {
    kernel::judge(&kernel::Facts {
        release: release.to_owned(),
        features: features(answer),
        jit: jit.map(str::to_owned),
        has_btf: false,
    })
}

#[test]
fn an_old_kernel_lacks_what_it_lacks() {
    let old = kernel_of("5.10.0-8-amd64", &Ok(false), Some("0"));
    assert_eq!(level(&old, "version"), Level::Warning);
    assert_eq!(level(&old, "tc"), Level::Missing);
    assert_eq!(level(&old, "tcx"), Level::Warning);
    assert!(
        finding(&old, "tcx")
            .what
            .ends_with("this kernel lacks: it; clsact is used instead")
    );
    assert_eq!(level(&old, "jit"), Level::Warning);
    let new = kernel_of("6.1.0-13-amd64", &Ok(true), Some("1"));
    assert!(new.iter().all(|finding| finding.level == Level::Ok), "{new:?}");
    assert_eq!(level(&kernel_of("10.0", &Ok(true), None), "version"), Level::Ok);
    assert_eq!(level(&kernel_of("", &Ok(true), None), "version"), Level::Warning);
}

#[test]
fn what_cannot_be_asked_for_is_not_told_as_there() {
    let unknown = kernel_of("6.18.0", &Err("not permitted".to_owned()), Some("1"));
    for check in ["tc", "tcx"] {
        let finding = finding(&unknown, check);
        assert_eq!(finding.level, Level::Warning);
        assert!(
            finding.what.contains("not known") && finding.what.contains("not permitted"),
            "{}",
            finding.what
        );
    }
}

#[test]
fn agents_and_pins_of_other_versions_are_told() {
    let runs = |version: &str| Agent::Runs {
        version: version.to_owned(),
        pid: 7,
    };
    let abi = switcher_ebpf::abi::ABI_VERSION;
    assert_eq!(
        level(&host::judge(&runs(env!("CARGO_PKG_VERSION")), &[abi]), "agent"),
        Level::Ok
    );
    assert_eq!(level(&host::judge(&runs("0.0.9"), &[abi]), "agent"), Level::Warning);
    assert_eq!(level(&host::judge(&Agent::None, &[]), "agent"), Level::Ok);
    assert_eq!(level(&host::judge(&Agent::None, &[abi]), "agent"), Level::Warning);
    let other = host::judge(&Agent::None, &[abi + 1]);
    assert_eq!(level(&other, "agent"), Level::Ok);
    assert!(finding(&other, "pins").what.contains(&format!("(v{})", abi + 1)));
}
