//! Fast bit-exact forward pass: kernels, cache, batches, sampling.
