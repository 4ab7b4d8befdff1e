//! Names of aliases, by DNS over UDP and TCP: A and AAAA of `ALIAS.switcher.internal`, and of the bare `ALIAS`. A container that
//! has links is answered by their names too.
//!
//! An answer is the alias's own address, which stays the same whatever is behind it: no client can hold a stale one. All
//! that is outside the zone is refused, so that a resolver goes on to the next server. Our own few lines instead of a DNS
//! server's crate: one question, one kind of answer, no zone files, nothing to recurse.

mod message;
mod server;

pub use message::{Names, ZONE};
pub use server::Responder;
