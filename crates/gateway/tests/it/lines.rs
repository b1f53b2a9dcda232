//! The log of a gateway in memory, as its operator would read it.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use gateway::service::REQUEST_TARGET;
use serde_json::{Map, Value, json};
use tracing::Level;
use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::fmt::MakeWriter;

/// What the log says, in memory.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Collects everything that this thread logs, until the guard is dropped.
    pub(crate) fn collect(&self) -> DefaultGuard {
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(Level::TRACE);
        set_default(log.with_writer(self.clone()).finish())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines about requests, each without what is of its moment.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Map<String, Value>>(line).unwrap());
        let lines = lines.filter(|line| line["target"] == REQUEST_TARGET).map(|mut line| {
            assert_eq!(line.remove("level"), Some(json!("INFO")));
            line.remove("timestamp").unwrap();
            line.remove("target").unwrap();
            if line["message"] != "refused" {
                assert!(line.remove("ms").unwrap().as_u64().unwrap() < 20_000);
            }
            Value::Object(line)
        });
        lines.collect()
    }
}
