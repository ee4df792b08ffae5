//! The command app of the inventory service.

use std::process::ExitCode;

fn main() -> ExitCode {
    skein_azure_app::run_command_app(inventory_functions::commands)
}
