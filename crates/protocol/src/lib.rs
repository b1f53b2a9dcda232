//! Words everyone speaks: ids, canonical encoding, settings, claim, verdict.
