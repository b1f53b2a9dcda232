//! Watches server-sent events as they pass: whether they are well formed, and whether they came to an end. Total and
//! bounded. Must never change, hold back or refuse a byte.

/// Longest line that is looked at.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// What is wrong with a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A line is longer than [`MAX_LINE_BYTES`].
    LongLine,
    /// A line is not UTF-8.
    NotUtf8,
    /// A line has no field that the format knows.
    UnknownField,
    /// The stream ends within an event.
    Cut,
    /// The stream ends without `[DONE]`.
    NotDone,
    /// Something comes after `[DONE]`.
    AfterDone,
}

impl Flaw {
    /// Stable machine name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::LongLine => "sse_long_line",
            Self::NotUtf8 => "sse_not_utf8",
            Self::UnknownField => "sse_unknown_field",
            Self::Cut => "sse_cut",
            Self::NotDone => "sse_not_done",
            Self::AfterDone => "sse_after_done",
        }
    }
}

/// Reads a stream piece by piece, however it is cut.
#[derive(Debug, Default)]
pub struct EventWatch {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
    /// Lines of an event that has no end yet.
    in_event: bool,
    done: bool,
    flaw: Option<Flaw>,
}

impl EventWatch {
    /// The next bytes. After the first flaw nothing more is looked at.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.flaw.is_some() {
                return;
            }
            let was_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if was_return => {}
                b'\n' | b'\r' => self.end_line(),
                _ if self.line.len() >= MAX_LINE_BYTES => self.flaw = Some(Flaw::LongLine),
                _ => self.line.push(byte),
            }
        }
    }

    /// The end of the stream: the first flaw, if there is one.
    pub fn finish(self) -> Option<Flaw> {
        let cut = (self.in_event || !self.line.is_empty()).then_some(Flaw::Cut);
        self.flaw.or(cut).or((!self.done).then_some(Flaw::NotDone))
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let Ok(line) = std::str::from_utf8(&line) else {
            self.flaw = Some(Flaw::NotUtf8);
            return;
        };
        if line.is_empty() {
            self.in_event = false;
            return;
        }
        // A line that begins with a colon is a comment.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field.is_empty() {
            return;
        }
        self.in_event = true;
        match field {
            _ if self.done => self.flaw = Some(Flaw::AfterDone),
            "data" => self.done = value.strip_prefix(' ').unwrap_or(value) == "[DONE]",
            "event" | "id" | "retry" => {}
            _ => self.flaw = Some(Flaw::UnknownField),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the same flaw comes.
    fn check(bytes: &[u8], expected: Option<Flaw>) {
        for size in [1, 2, 3, bytes.len().max(1)] {
            let mut watch = EventWatch::default();
            bytes.chunks(size).for_each(|piece| watch.push(piece));
            assert_eq!(watch.finish(), expected, "{:?} by {size}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn whole_streams_have_no_flaw() {
        for good in [
            "data: {}\n\ndata: [DONE]\n\n",
            "data:{}\r\n\r\ndata:[DONE]\r\n\r\n",
            "data: 1\r\rdata: [DONE]\r\r",
            ": ping\n\nevent: x\nid: 1\nretry: 5\ndata: {}\n\ndata: [DONE]\n\n: bye\n\n",
            "data\n\ndata: [DONE]\n\n",
        ] {
            check(good.as_bytes(), None);
        }
    }

    #[test]
    fn broken_streams_are_named() {
        check(b"", Some(Flaw::NotDone));
        check(b"data: {}\n\n", Some(Flaw::NotDone));
        check(b"data: {}\n\ndata: [DON", Some(Flaw::Cut));
        check(b"data: {}\n\ndata: [DONE]\n", Some(Flaw::Cut));
        check(b"data: \xff\n\ndata: [DONE]\n\n", Some(Flaw::NotUtf8));
        check(b"{\"error\":1}\n\n", Some(Flaw::UnknownField));
        check(b"data: [DONE]\n\ndata: {}\n\n", Some(Flaw::AfterDone));
        let mut long = vec![b'x'; MAX_LINE_BYTES];
        long.splice(..6, *b"data: ");
        let with_end = |line: &[u8]| [line, b"\n\ndata: [DONE]\n\n"].concat();
        let mut watch = EventWatch::default();
        watch.push(&with_end(&long));
        assert_eq!(watch.finish(), None);
        long.push(b'x');
        let mut watch = EventWatch::default();
        watch.push(&with_end(&long));
        assert_eq!(watch.finish(), Some(Flaw::LongLine));
    }
}
