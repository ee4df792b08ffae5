//! The command app of the orders service.

use std::process::ExitCode;

fn main() -> ExitCode {
    skein_azure_app::run_command_app(orders_functions::commands)
}
