//! Even draws from a stream of bytes. Nothing here may prefer a number.

/// A number below `count`, each equally likely; 0 for none.
pub(crate) fn below(stream: &mut blake3::OutputReader, count: u64) -> u64 {
    let count = count.max(1);
    // Draws beyond the last whole run of `count` numbers are drawn again.
    loop {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        let number = u64::from_le_bytes(bytes);
        if number < u64::MAX - u64::MAX % count {
            return number % count;
        }
    }
}
