//! The Secure Network Gateway: the only way in and out of an untrusted inference server. It admits whitelisted
//! weights only, tags every request, fixes its seed, records and signs what was answered, and picks what is
//! recomputed. It must never link the model, and never believe what the server says about itself.
//!
//! | module | what it holds |
//! |---|---|
//! | [`state`] | what the gateway does with its server: the pure machine |
//! | [`server_link`] | the shell around it: process, socket, clock |
//! | [`openai`] | the API towards clients |
//! | [`logprobs`] | log-probabilities as clients see them |
//! | [`http`] | routes, headers, status codes |
//! | [`listen`], [`body`] | connections and bodies, within a size and a time |
//! | [`api_keys`], [`limits`], [`access`] | who may ask, and how much |
//! | [`idempotency`] | retries that keep their nonce |
//! | [`metrics`] | numbers for monitors |
//! | [`service`] | one request from the API to its record and receipt |
//! | [`governor`] | how fast answers may leave while others wait for their check |
//! | [`panel`] | who recomputes what, and what follows from what they say |
//! | [`unverifiable`] | how many answers may stay without a verdict |
//! | [`pass_through`], [`sse`] | requests for any other server, as they are |
//! | [`lease_server`] | hands sampled answers to recomputers |
//! | [`record`], [`log`] | what is written down |
//! | [`receipts`] | which answers have a receipt, and its signature |
//! | [`recent`] | the latest verdicts, for people who watch |
//! | [`sampling`] | nonces, and which answers are recomputed |
//! | [`entropy`] | random bytes, and whether their source is well |
//! | [`epochs`], [`history`] | trees over the answers, checkpoints, beacons; and the same from a log |
//! | [`pick_count`] | whether there are as many picks as the rates make likely |
//! | [`sampling_audit`] | whether exactly what had to be recomputed was picked |
//! | [`spool`] | sampled answers that wait for recomputation |
//! | [`tokenizer_file`] | the model's tokens from the bundle that the whitelist names |
//! | [`store`] | the record of everything that passed: a sealed, chained log of fixed size |

pub mod access;
pub mod api_keys;
pub mod body;
pub mod entropy;
pub mod epochs;
mod frames;
pub mod governor;
pub mod history;
pub mod http;
pub mod idempotency;
pub mod lease_server;
pub mod limits;
pub mod listen;
pub mod log;
pub mod logprobs;
pub mod metrics;
pub mod openai;
pub mod panel;
pub mod pass_through;
pub mod pick_count;
pub mod receipts;
pub mod recent;
pub mod record;
pub mod sampling;
pub mod sampling_audit;
pub mod server_link;
pub mod service;
pub mod spool;
pub mod sse;
pub mod state;
pub mod store;
pub mod tokenizer_file;
pub mod unverifiable;
