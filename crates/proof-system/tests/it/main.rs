//! Laws of the proof system, from outside.
