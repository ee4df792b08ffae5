//! The package of a function app: what the functions host reads beside the binary.

use serde_json::{Value, json};
use skein_model::{App, FunctionApp, Gateway, Service, Trigger};

/// Where the binary stands in a package.
pub const HANDLER: &str = "bin/handler";

/// The files of an app's package but for the binary ([`HANDLER`]), by path, in the order of their paths.
pub fn package(service: &Service, app: App) -> Vec<(String, Vec<u8>)> {
    files(service.app(app), |queue| service.queue_in_bus(queue))
}

/// The same of the gateway's router.
pub fn router_package(gateway: &Gateway) -> Vec<(String, Vec<u8>)> {
    files(&gateway.router, str::to_owned)
}

/// The files of an app; `queue_in_bus` says what a queue is called in its namespace.
fn files(app: &FunctionApp, queue_in_bus: impl Fn(&str) -> String) -> Vec<(String, Vec<u8>)> {
    let function_json = |trigger: &Trigger| text(&bindings(trigger, &queue_in_bus));
    let mut files: Vec<_> = app
        .functions
        .iter()
        .map(|function| (format!("{}/function.json", function.name), function_json(&function.trigger)))
        .collect();
    files.push(("host.json".to_owned(), text(&host())));
    files.sort();
    files
}

fn text(json: &Value) -> Vec<u8> {
    let mut json = json.clone();
    // The order of keys would otherwise depend on which crates are built together.
    json.sort_all_objects();
    format!("{json:#}\n").into_bytes()
}

fn bindings(trigger: &Trigger, queue_in_bus: impl Fn(&str) -> String) -> Value {
    match trigger {
        Trigger::Http { methods, route, .. } => {
            let methods: Vec<_> = methods.iter().map(|method| method.to_lowercase()).collect();
            json!({"bindings": [
                // Who may call is the platform's authentication to say, not a function key.
                {"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous",
                 "methods": methods, "route": route},
                {"type": "http", "direction": "out", "name": "res"},
            ]})
        }
        Trigger::ServiceBus { queue, connection, sessions } => json!({"bindings": [
            // Binary: else fields of the payload would overwrite the broker's metadata.
            {"type": "serviceBusTrigger", "direction": "in", "name": "message",
             "queueName": queue_in_bus(queue), "connection": connection.as_str(), "isSessionsEnabled": sessions, "dataType": "binary"},
        ]}),
    }
}

fn host() -> Value {
    json!({
        "version": "2.0",
        "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
        // The handler waits up to four minutes before a failing answer; a time-out would kill every call with it.
        "functionTimeout": "00:30:00",
        "customHandler": {
            "description": {"defaultExecutablePath": HANDLER},
            "enableForwardingHttpRequest": true,
            "enableProxyingHttpRequest": true,
        },
        "extensions": {
            "http": {"routePrefix": "api"},
            "serviceBus": {
                "autoCompleteMessages": true,
                "maxAutoLockRenewalDuration": "-00:00:00.0010000",
                // Events wait for merged rows, so that many are under way at once.
                "maxConcurrentCalls": 256,
                "maxConcurrentSessions": 64,
                "prefetchCount": 0,
                // An instance holds each session for as long as this after its last message: the default of a minute
                // serves 64 aggregates a minute, a second 64 a second, this 640.
                "sessionIdleTimeout": "00:00:00.1000000",
            },
        },
    })
}
