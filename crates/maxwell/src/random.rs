//! Random bytes for keys and nonces. Never from anywhere but the system.

use anyhow::bail;
use proof_system::field::Ext;

/// 32 bytes from the system.
pub(crate) fn random_bytes() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => bail!("the system gives no random numbers: {error}"),
    }
}

/// An element of the proofs' field from the system.
pub(crate) fn random_element() -> anyhow::Result<Ext> {
    Ok(Ext::from_random(random_bytes()?))
}
