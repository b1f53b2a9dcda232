//! The byte map against the values published with GPT-2.

use super::{SYMBOLS, byte_of};

#[test]
fn known_symbols() {
    // From the vocabulary file of GPT-2: space is Ġ, newline is Ċ, tab is ĉ, NUL is Ā, soft hyphen is Ń.
    for (byte, symbol) in
        [(b' ', 'Ġ'), (b'\n', 'Ċ'), (b'\t', 'ĉ'), (0, 'Ā'), (0xad, 'Ń'), (b'a', 'a'), (0xff, 'ÿ')]
    {
        assert_eq!(SYMBOLS[usize::from(byte)], symbol);
    }
}

#[test]
fn one_to_one() {
    for byte in 0..=255_u8 {
        assert_eq!(byte_of(SYMBOLS[usize::from(byte)]), Some(byte));
    }
    for other in [' ', '\n', '\u{7f}', '\u{ad}', '\u{144}', '語'] {
        assert_eq!(byte_of(other), None);
    }
}
