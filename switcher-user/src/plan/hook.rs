//! Which hook an interface of clients gets, and why.

use super::Refusal;
use crate::model::{Hook, HookPolicy};
use crate::net::Interface;

/// The hook of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookChoice {
    /// The hook.
    pub hook: Hook,
    /// Why, as a part of a sentence.
    pub why: String,
    /// True: TC will do where the kernel refuses.
    pub may_fall_back: bool,
}

impl HookChoice {
    fn tc(why: impl Into<String>) -> Self {
        Self {
            hook: Hook::Tc,
            why: why.into(),
            may_fall_back: false,
        }
    }

    /// The choice after the kernel refused XDP.
    #[must_use]
    pub fn fallen_back(refused: &impl std::fmt::Display) -> Self {
        Self::tc(format!("native XDP was refused: {refused}"))
    }
}

/// Chooses for an interface where clients come in.
///
/// # Errors
/// When XDP was asked for and cannot be right there.
pub fn choose_hook(policy: HookPolicy, interface: &Interface) -> Result<HookChoice, Refusal> {
    if policy == HookPolicy::Tc {
        return Ok(HookChoice::tc("--hook tc"));
    }
    let against = against_xdp(interface);
    match (policy, against) {
        (HookPolicy::Xdp, Some(why)) => Err(Refusal::NoXdp {
            interface: interface.name.clone(),
            why,
        }),
        (HookPolicy::Xdp, None) => Ok(HookChoice {
            hook: Hook::Xdp,
            why: "--hook xdp".to_owned(),
            may_fall_back: false,
        }),
        (_, Some(why)) => Ok(HookChoice::tc(why)),
        (_, None) => Ok(match &interface.kind {
            // An XDP program on a veth switches its peer's segmentation offload off; others have none that is native.
            Some(kind) => HookChoice::tc(format!("a {kind} is a virtual device, where TC is the faster")),
            None => HookChoice {
                hook: Hook::Xdp,
                why: "hardware, whose driver runs XDP".to_owned(),
                may_fall_back: true,
            },
        }),
    }
}

fn against_xdp(interface: &Interface) -> Option<String> {
    if interface.loopback || !interface.ethernet {
        return Some("it is no Ethernet device".to_owned());
    }
    // A driver takes the tag off where the program does not see it: what belongs to a VLAN would be taken for its own.
    interface
        .vlan
        .as_ref()
        .map(|vlan| format!("{vlan} is a VLAN on it, and XDP does not see the tags that a driver takes off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(kind: Option<&str>) -> Interface {
        Interface {
            name: "if0".to_owned(),
            ifindex: 2,
            up: true,
            loopback: false,
            ethernet: true,
            kind: kind.map(str::to_owned),
            link_address: [2, 0, 0, 0, 0, 1],
            vlan: None,
            xdp: None,
            partial_sums: false,
            addresses: Vec::new(),
        }
    }

    fn hook(policy: HookPolicy, interface: &Interface) -> Hook {
        choose_hook(policy, interface).unwrap().hook
    }

    #[test]
    fn auto_takes_xdp_on_hardware_only() {
        for kind in ["veth", "bridge", "tun", "vxlan", "macvlan"] {
            let choice = choose_hook(HookPolicy::Auto, &interface(Some(kind))).unwrap();
            assert_eq!(choice.hook, Hook::Tc);
            assert!(choice.why.contains(kind), "{choice:?}");
        }
        let choice = choose_hook(HookPolicy::Auto, &interface(None)).unwrap();
        assert_eq!((choice.hook, choice.may_fall_back), (Hook::Xdp, true));
        let after = HookChoice::fallen_back(&"the driver has none");
        assert_eq!(after.hook, Hook::Tc);
        assert!(after.why.contains("the driver has none"));
    }

    #[test]
    fn what_was_asked_for_is_given_or_refused() {
        assert_eq!(hook(HookPolicy::Tc, &interface(None)), Hook::Tc);
        let choice = choose_hook(HookPolicy::Xdp, &interface(Some("veth"))).unwrap();
        assert_eq!((choice.hook, choice.may_fall_back), (Hook::Xdp, false));
        let mut loopback = interface(None);
        loopback.loopback = true;
        let error = choose_hook(HookPolicy::Xdp, &loopback).unwrap_err().to_string();
        assert!(error.contains("'if0'") && error.contains("--hook tc"), "{error}");
        assert_eq!(hook(HookPolicy::Auto, &loopback), Hook::Tc);
    }

    #[test]
    fn an_interface_with_vlans_gets_no_xdp() {
        let mut trunk = interface(None);
        trunk.vlan = Some("if0.7".to_owned());
        let choice = choose_hook(HookPolicy::Auto, &trunk).unwrap();
        assert_eq!(choice.hook, Hook::Tc);
        assert!(choice.why.contains("if0.7"), "{choice:?}");
        let error = choose_hook(HookPolicy::Xdp, &trunk).unwrap_err().to_string();
        assert!(error.contains("if0.7"), "{error}");
    }
}
