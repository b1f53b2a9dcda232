//! The record of everything that passed. Never loses what it acknowledged.
