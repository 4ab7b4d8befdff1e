//! Names of aliases, by DNS over UDP and TCP: A and AAAA of `ALIAS.ZONE`, and of the bare `ALIAS`. A container that
//! has links is answered by their names too.
//!
//! An answer is the alias's own address, which stays the same whatever is behind it: no client can hold a stale one. All
//! that is outside the zone is refused, so that a resolver goes on to the next server. Messages are hickory's.

mod answerer;
mod names;
mod server;
mod socket;

pub use names::Names;
pub use server::Responder;
