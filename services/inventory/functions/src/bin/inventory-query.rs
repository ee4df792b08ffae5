//! The query app of the inventory service.

use std::process::ExitCode;

fn main() -> ExitCode {
    skein_azure_app::run_query_app(inventory_functions::queries)
}
