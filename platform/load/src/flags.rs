//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;

/// What `--help` prints.
pub const HELP: &str = "\
SKEIN_TOKEN=… skein-load FILE     send a file of orders through GraphQL and wait until all effects are visible
    --url URL           the gateway [http://127.0.0.1:8080]
    --stock N           units to receive of each SKU first [1000]
    --concurrency N     mutations under way at once [32]
    --timeout SECONDS   give up once nothing has moved for this long [300]
    --output text|json  the summary on stdout [text]

Exit status: 0 all effects are visible (refusals and bad rows are in the summary), 1 they are not, 2 the command line
is wrong.";

/// How the summary is printed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What is asked for.
#[derive(Debug, PartialEq)]
pub struct Flags {
    /// The file.
    pub file: PathBuf,
    /// The gateway.
    pub url: String,
    /// Units to receive of each SKU first.
    pub stock: i32,
    /// Mutations under way at once.
    pub concurrency: usize,
    /// The limit on the whole.
    pub timeout: Duration,
    /// The summary.
    pub output: Output,
}

/// Reads the command line; `None` asks for the help.
pub fn parse(mut args: lexopt::Parser) -> Result<Option<Flags>> {
    let mut file = None;
    let mut flags = Flags {
        file: PathBuf::new(),
        url: "http://127.0.0.1:8080".to_owned(),
        stock: 1000,
        concurrency: 32,
        timeout: Duration::from_secs(300),
        output: Output::Text,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("url") => flags.url = args.value()?.string()?.trim_end_matches('/').to_owned(),
            Long("stock") => flags.stock = args.value()?.parse()?,
            Long("concurrency") => flags.concurrency = args.value()?.parse()?,
            Long("timeout") => flags.timeout = Duration::from_secs(args.value()?.parse()?),
            Long("output") => {
                flags.output = match args.value()?.string()?.as_str() {
                    "text" => Output::Text,
                    "json" => Output::Json,
                    other => bail!("the output is text or json, not {other:?}"),
                }
            }
            Value(value) if file.is_none() => file = Some(PathBuf::from(value)),
            _ => return Err(arg.unexpected().into()),
        }
    }
    if flags.stock < 0 {
        bail!("--stock is {}; it cannot be negative", flags.stock);
    }
    if flags.concurrency == 0 {
        bail!("--concurrency is 0; it is at least 1");
    }
    flags.file = file.context("the FILE to load is missing")?;
    Ok(Some(flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read() {
        let parsed = |line: &str| parse(lexopt::Parser::from_args(line.split_whitespace()));
        let flags = parsed("f.csv --url http://127.0.0.1:1/ --stock 5 --output json --timeout 7").unwrap().unwrap();
        assert_eq!((flags.url.as_str(), flags.stock, flags.output), ("http://127.0.0.1:1", 5, Output::Json));
        assert_eq!(flags.timeout, Duration::from_secs(7));
        assert!(parsed("--help").unwrap().is_none());
        assert_eq!(parsed("").unwrap_err().to_string(), "the FILE to load is missing");
        assert_eq!(parsed("f --stock -1").unwrap_err().to_string(), "--stock is -1; it cannot be negative");
    }
}
