//! The one-to-one map between the 256 bytes and the printable characters that stand for them in byte-level
//! vocabularies. It must never be asked to map a character that stands for no byte onto one.
//!
//! Source: `bytes_to_unicode` in OpenAI's GPT-2 encoder. Bytes that are printable in Latin-1 stand for
//! themselves; the others take U+0100, U+0101, .. in order of their value.

const FIRST_SUBSTITUTE: u32 = 0x100;

/// The character that stands for each byte.
pub(crate) const SYMBOLS: [char; 256] = symbols();

const fn symbols() -> [char; 256] {
    let mut table = ['\0'; 256];
    let mut byte = 0;
    let mut substitutes = 0;
    while byte < 256 {
        let code = if is_printable(byte) { byte } else { FIRST_SUBSTITUTE + substitutes };
        if !is_printable(byte) {
            substitutes += 1;
        }
        table[byte as usize] = char::from_u32(code).expect("no surrogates below U+0200");
        byte += 1;
    }
    table
}

const fn is_printable(byte: u32) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte that `symbol` stands for, if it stands for one.
pub(crate) fn byte_of(symbol: char) -> Option<u8> {
    let code = u32::from(symbol);
    if is_printable(code) {
        return u8::try_from(code).ok();
    }
    // The substitutes are in order of their byte, so the table is searched only among them.
    SYMBOLS.iter().position(|&known| known == symbol).and_then(|byte| u8::try_from(byte).ok())
}

#[cfg(test)]
mod tests;
