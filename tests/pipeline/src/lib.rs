//! Tests over the whole workspace; they lie in `tests/`.
