//! The node's view of what really happened: meters, as typed readings. Never trusts a number that its window, its range or
//! its clock contradicts, and never fills a gap.
//!
//! | module | what it holds |
//! |---|---|
//! | [`counter`] | from raw counters to energy: wraps, resets, freezes, jumps |
//! | [`sensors`] | readers of what the machine offers: RAPL, hwmon, CPU time |

pub mod counter;
pub mod sensors;
