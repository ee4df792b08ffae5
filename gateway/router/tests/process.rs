//! The binary as a process.

use std::process::{Command, Stdio};

#[test]
fn what_is_missing_is_said_and_the_status_is_not_zero() {
    let mut router = Command::new(env!("CARGO_BIN_EXE_gateway-router"));
    router.env_clear().env("FUNCTIONS_CUSTOMHANDLER_PORT", "1").stdin(Stdio::null());
    let output = router.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("SKEIN_QUERY_APPS is not set: set it to"), "{said}");
}
