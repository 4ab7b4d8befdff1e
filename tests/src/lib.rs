//! What Switcher is proven with: a lab of network namespaces with real nginx, traffic whose every request is accounted
//! for, and the demo made of both.
//!
//! Nothing here is a mock. The lab needs root, `ip` (iproute2), `nsenter` and `setpriv` (util-linux), `nginx` and `tcpdump`.

pub mod binaries;
pub mod bulk;
pub mod clock;
pub mod demo;
pub mod interrupt;
pub mod lab;
pub mod talk;
pub mod traffic;
pub mod ways;
