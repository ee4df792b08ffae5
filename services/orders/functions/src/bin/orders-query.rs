//! The query app of the orders service.

use std::process::ExitCode;

fn main() -> ExitCode {
    skein_azure_app::run_query_app(orders_functions::queries)
}
