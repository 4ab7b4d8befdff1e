//! The packet logic outside the kernel: packets in memory and tables on the heap, for tests and for the agent.

mod memory_packet;
mod memory_place;
mod memory_tables;

pub use memory_packet::{HOST_ADDRESS, MemoryPacket};
pub use memory_place::MemoryPlace;
pub use memory_tables::{MemoryImage, MemoryTables};
