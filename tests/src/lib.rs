//! System tests, architecture rules, golden files.
