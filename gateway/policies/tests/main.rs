//! The policies as they are deployed: golden files, lints over the printed XML, and the C# run under Mono.

mod csharp;
mod golden;
mod kind;
mod lint;
mod refusals;
