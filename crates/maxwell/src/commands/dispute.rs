//! `maxwell dispute`: see below.

pub(crate) mod play;
