//! What a share of checked answers proves. Never knows a server.
