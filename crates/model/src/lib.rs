//! What an inference means: import, formats, tables, and the plain integer-exact definition of every operation.
