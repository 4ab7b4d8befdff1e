//! The packet logic outside the kernel: packets in memory and tables on the heap, for tests and for the agent.

mod memory_packet;
mod memory_tables;

pub use memory_packet::MemoryPacket;
pub use memory_tables::{MemoryImage, MemoryTables};
