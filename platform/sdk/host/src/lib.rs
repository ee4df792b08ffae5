//! A custom handler as Azure Functions calls it.
//!
//! A function app is one process. The functions host starts it, waits until `GET /` on
//! `127.0.0.1:$FUNCTIONS_CUSTOMHANDLER_PORT` answers, and then calls it in two ways, both of which an [`App`] serves:
//!
//! - **forwarded**: an HTTP request on its original path, `/api/{route}`, answered as is;
//! - **invoked**: `POST /{Function}` with `{"Data": …, "Metadata": …}`, for every other trigger, answered with
//!   `{"Outputs": …, "Logs": …, "ReturnValue": null}`. Anything but a 2xx makes the host abandon the message.
//!
//! What the process promises: it never exits with status 0 by itself (the host would take that for success and never
//! start it again), it never answers without a JSON body (the host would wait for ever), a panic fails one call only,
//! and each call leaves one line of JSON on stdout.
//!
//! This crate knows no adapter and no runtime but tokio's. [`start`] is the `main` of a function app.

mod app;
mod health;
mod payload;
mod principal;
mod process;
mod settings;
mod trace;
mod trigger;

pub use app::{App, FunctionList, FunctionTrigger, MAX_BODY_BYTES, StartError};
pub use health::{Check, reads};
pub use payload::PayloadError;
pub use principal::{
    PRINCIPAL_HEADER, PRINCIPAL_ID_HEADER, Unauthorized, caller_id, encode_principal, encode_principal_and_end,
    principal, principal_and_end,
};
pub use process::{PARENT_GONE, start};
pub use settings::{
    CommandSettings, HostSettings, LiveSettings, PersonalSettings, QuerySettings, RouterSettings, Settings,
    SettingsError,
};
pub use trace::{fresh_traceparent, trace_id};
pub use trigger::{EventGridEvent, HttpRequest, HttpResponse, Invocation, ServiceBusMessage, Timer};
