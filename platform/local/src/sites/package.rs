//! What the functions host reads of a package: `host.json` and each `{Function}/function.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::route::Route;
use super::schedule::Schedule;

/// Why a package cannot be run at all.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file is missing or cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// A file is no JSON object of the expected shape.
    #[error("{0}: {1}")]
    Malformed(PathBuf, String),
}

/// How a function app is run.
#[derive(Debug, Clone)]
pub struct Package {
    /// The folder of the package.
    pub root: PathBuf,
    /// What `host.json` says.
    pub host: Host,
    /// The functions that can run, by name.
    pub functions: Vec<Function>,
    /// The functions that cannot, with the reason.
    pub errors: Vec<(String, String)>,
}

/// What `host.json` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// The executable, absolute where the package holds it.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The folder it is started in.
    pub working_directory: PathBuf,
    /// Whether a line on stderr is an error unless it says "warn".
    pub stderr_is_error: bool,
    /// Whether requests of plain HTTP functions are passed on as they are.
    pub forwards_http: bool,
    /// How long the worker may take to answer its first request.
    pub initialization_timeout: Duration,
    /// How long an invocation may take; `None` is without limit.
    pub function_timeout: Option<Duration>,
    /// The prefix of HTTP routes, without slashes.
    pub route_prefix: String,
    /// How Service Bus triggers receive.
    pub service_bus: ServiceBus,
}

/// `extensions.serviceBus`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceBus {
    /// Whether a success completes the message.
    pub auto_complete: bool,
    /// How many calls run at once without sessions.
    pub max_concurrent_calls: usize,
    /// How many sessions are held at once.
    pub max_concurrent_sessions: usize,
    /// How long a session without a message is held.
    pub session_idle_timeout: Duration,
    /// How long locks are renewed; `None` is without limit.
    pub max_auto_lock_renewal: Option<Duration>,
}

/// One function.
#[derive(Debug, Clone)]
pub struct Function {
    /// The folder's name.
    pub name: String,
    /// What starts it.
    pub trigger: Trigger,
    /// The trigger binding's name.
    pub binding: String,
    /// The names and types of its output bindings.
    pub outputs: Vec<(String, String)>,
    /// Whether it has exactly `httpTrigger` and `http`, so that its requests may be forwarded.
    pub plain_http: bool,
}

/// What starts a function.
#[derive(Debug, Clone)]
pub enum Trigger {
    /// An HTTP request.
    Http {
        /// Upper-case methods; any where it is empty.
        methods: Vec<String>,
        /// The route without the prefix.
        route: Route,
    },
    /// A message of a queue.
    ServiceBus {
        /// The prefix of the app settings that say where and as whom it receives.
        connection: String,
        /// The namespace, as the app settings of the connection name it.
        namespace: String,
        /// The queue.
        queue: String,
        /// Whether it receives by sessions.
        sessions: bool,
        /// Whether the body is given as bytes.
        binary: bool,
        /// Overrides `autoCompleteMessages` of `host.json`.
        auto_complete: Option<bool>,
    },
    /// An event of a topic, by webhook.
    EventGrid,
    /// A time.
    Timer {
        /// When.
        schedule: Schedule,
        /// Whether occurrences are remembered over a restart.
        monitor: bool,
        /// Whether it runs once at the start.
        on_startup: bool,
    },
}

impl Trigger {
    /// The binding's type.
    pub fn kind(&self) -> &'static str {
        match self {
            Trigger::Http { .. } => "httpTrigger",
            Trigger::ServiceBus { .. } => "serviceBusTrigger",
            Trigger::EventGrid => "eventGridTrigger",
            Trigger::Timer { .. } => "timerTrigger",
        }
    }
}

fn read_object(path: &Path) -> Result<Map<String, Value>, PackageError> {
    let text = std::fs::read(path).map_err(|error| PackageError::Read(path.to_owned(), error))?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(PackageError::Malformed(path.to_owned(), "it is no JSON object".into())),
        Err(error) => Err(PackageError::Malformed(path.to_owned(), error.to_string())),
    }
}

/// Expands `%NAME%` from the app settings; a name that is not set becomes `unset`.
fn expand(text: &str, settings: &BTreeMap<String, String>, unset: Option<&str>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        expanded.push_str(before);
        let Some((name, tail)) = after.split_once('%') else {
            return Ok(expanded + "%" + after);
        };
        match settings.get(name).map(String::as_str).or(unset) {
            Some(value) => expanded.push_str(value),
            None => return Err(format!("%{name}% names no app setting")),
        }
        rest = tail;
    }
    Ok(expanded + rest)
}

/// Reads a .NET `TimeSpan` as in `[-][d.]hh:mm:ss[.fffffff]`; a negative one is without limit.
fn time_span(text: &str) -> Option<Option<Duration>> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds: f64 = seconds.parse().ok().filter(|seconds: &f64| (0.0..60.0).contains(seconds))?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let whole = number(days)?.checked_mul(86_400)?.checked_add(hours * 3600 + minutes * 60)?;
    let span = Duration::from_secs(whole) + Duration::from_secs_f64(seconds);
    Some((!negative).then_some(span))
}

/// Typed access to a JSON file, with errors that name the member.
struct Reader<'v>(&'v Value);

impl<'v> Reader<'v> {
    fn at(&self, pointer: &str) -> Option<&'v Value> {
        self.0.pointer(pointer).filter(|value| !value.is_null())
    }

    fn get<T: Deserialize<'v>>(&self, pointer: &str, expected: &str) -> Result<Option<T>, String> {
        let Some(value) = self.at(pointer) else { return Ok(None) };
        T::deserialize(value)
            .map(Some)
            .map_err(|_| format!("{} must be {expected}, it is {value}", pointer[1..].replace('/', ".")))
    }

    fn span(&self, pointer: &str) -> Result<Option<Option<Duration>>, String> {
        let Some(text) = self.get::<String>(pointer, "a time span")? else { return Ok(None) };
        // `-1` is what host.json calls unbounded in functionTimeout.
        if text == "-1" {
            return Ok(Some(None));
        }
        time_span(&text).map(Some).ok_or_else(|| {
            format!("{} must be a time span as 00:05:00, it is {text:?}", pointer[1..].replace('/', "."))
        })
    }
}

impl Package {
    /// Reads a package. A function that cannot run is kept as an error; the others run.
    ///
    /// # Errors
    /// A missing or malformed `host.json`.
    pub fn read(root: &Path, settings: &BTreeMap<String, String>) -> Result<Package, PackageError> {
        let path = root.join("host.json");
        let host = Value::Object(read_object(&path)?);
        let host = Host::of(root, &host, settings).map_err(|why| PackageError::Malformed(path, why))?;
        let mut package = Package { root: root.to_owned(), host, functions: Vec::new(), errors: Vec::new() };
        let entries = std::fs::read_dir(root).map_err(|error| PackageError::Read(root.to_owned(), error))?;
        let mut folders: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        folders.sort();
        for folder in folders {
            let path = folder.join("function.json");
            if !path.is_file() {
                continue;
            }
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let function = read_object(&path)
                .map_err(|error| super::chain(&error))
                .and_then(|json| Function::of(&name, &Value::Object(json), settings));
            match function {
                Ok(Some(function)) => package.functions.push(function),
                Ok(None) => {}
                Err(why) => package.errors.push((name, why)),
            }
        }
        Ok(package)
    }
}

impl Host {
    fn of(root: &Path, json: &Value, settings: &BTreeMap<String, String>) -> Result<Host, String> {
        let json = Reader(json);
        if json.get::<String>("/version", "a text")?.as_deref() != Some("2.0") {
            return Err("version must be \"2.0\"".into());
        }
        let handler = "/customHandler/description";
        let executable = json
            .get::<String>(&format!("{handler}/defaultExecutablePath"), "a text")?
            .filter(|path| !path.is_empty())
            .ok_or("customHandler.description.defaultExecutablePath is missing")?;
        let executable = expand(&executable, settings, Some(""))?;
        let base = match json.get::<String>(&format!("{handler}/workerDirectory"), "a text")? {
            Some(folder) => root.join(folder),
            None => root.to_owned(),
        };
        // Relative to the package, else left for PATH to resolve: never to the working directory.
        let executable =
            if base.join(&executable).is_file() { base.join(&executable) } else { PathBuf::from(executable) };
        let arguments = json.get::<Vec<String>>(&format!("{handler}/arguments"), "a list of texts")?;
        let arguments = arguments.unwrap_or_default().into_iter();
        let arguments = arguments.map(|argument| expand(&argument, settings, Some("")));
        let working = json.get::<String>(&format!("{handler}/workingDirectory"), "a text")?;
        let flag = |pointer: &str| json.get::<bool>(pointer, "true or false");
        let count = |pointer: &str, default: usize| {
            let count = json.get::<usize>(pointer, "a number from 1")?.unwrap_or(default);
            if count == 0 { Err(format!("{} must be a number from 1", &pointer[1..])) } else { Ok(count) }
        };
        let bus = "/extensions/serviceBus";
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Host {
            executable,
            arguments: arguments.collect::<Result<_, _>>()?,
            working_directory: working.map_or_else(|| root.to_owned(), |folder| root.join(folder)),
            stderr_is_error: flag(&format!("{handler}/useStdErrorStreamForErrorsOnly"))?.unwrap_or(true),
            forwards_http: flag("/customHandler/enableForwardingHttpRequest")?.unwrap_or(false)
                || flag("/customHandler/enableProxyingHttpRequest")?.unwrap_or(false),
            initialization_timeout: json
                .span("/customHandler/initializationTimeout")?
                .flatten()
                .unwrap_or(Duration::from_secs(30)),
            function_timeout: json.span("/functionTimeout")?.unwrap_or(Some(Duration::from_secs(30 * 60))),
            route_prefix: json
                .get::<String>("/extensions/http/routePrefix", "a text")?
                .map_or_else(|| "api".to_owned(), |prefix| prefix.trim_matches('/').to_owned()),
            service_bus: ServiceBus {
                auto_complete: flag(&format!("{bus}/autoCompleteMessages"))?.unwrap_or(true),
                max_concurrent_calls: count(&format!("{bus}/maxConcurrentCalls"), 16 * cores)?,
                max_concurrent_sessions: count(&format!("{bus}/maxConcurrentSessions"), 8)?,
                session_idle_timeout: json
                    .span(&format!("{bus}/sessionIdleTimeout"))?
                    .flatten()
                    .unwrap_or(Duration::from_secs(60)),
                max_auto_lock_renewal: json
                    .span(&format!("{bus}/maxAutoLockRenewalDuration"))?
                    .unwrap_or(Some(Duration::from_secs(300))),
            },
        })
    }
}

impl Function {
    /// Reads a function; `None` where an app setting disables it.
    fn of(name: &str, json: &Value, settings: &BTreeMap<String, String>) -> Result<Option<Function>, String> {
        let mut letters = name.bytes();
        if !letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            || !letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
            || name.len() > 128
            || name.eq_ignore_ascii_case("host")
        {
            return Err("the name must match ^[a-z][a-z0-9_-]{0,127}$ and not be host".into());
        }
        let disabled = settings.get(&format!("AzureWebJobs.{name}.Disabled"));
        if disabled.is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let bindings = json.get("bindings").and_then(Value::as_array).ok_or("bindings must be a list")?;
        let mut trigger = None;
        let mut inputs = 0;
        let mut outputs = Vec::new();
        for binding in bindings {
            let reader = Reader(binding);
            let text = |member: &str| -> Result<Option<String>, String> {
                let value = reader.get::<String>(&format!("/{member}"), "a text")?;
                value.map(|value| expand(&value, settings, None)).transpose()
            };
            let binding_name = text("name")?.filter(|name| !name.is_empty()).ok_or("a binding has no name")?;
            let kind = text("type")?.ok_or_else(|| format!("the binding {binding_name} has no type"))?;
            match text("direction")?.as_deref() {
                Some("out") => {
                    if kind != "http" {
                        return Err(format!("the output binding type {kind:?} is not hosted"));
                    }
                    outputs.push((binding_name, kind));
                    continue;
                }
                // What the host takes for `in`.
                None | Some("in") => inputs += 1,
                Some(other) => return Err(format!("the direction {other:?} of {binding_name} is not hosted")),
            }
            if trigger.is_some() {
                return Err("there are two triggers".into());
            }
            trigger = Some((binding_name, trigger_of(name, &kind, &reader, &text, settings)?));
        }
        let (binding, trigger) = trigger.ok_or("there is no trigger")?;
        let http = matches!(trigger, Trigger::Http { .. });
        if http && outputs.is_empty() {
            return Err("an httpTrigger needs an http output".into());
        }
        let plain_http = http && inputs == 1 && outputs.len() == 1;
        Ok(Some(Function { name: name.to_owned(), trigger, binding, outputs, plain_http }))
    }
}

fn trigger_of(
    function: &str,
    kind: &str,
    reader: &Reader<'_>,
    text: &dyn Fn(&str) -> Result<Option<String>, String>,
    settings: &BTreeMap<String, String>,
) -> Result<Trigger, String> {
    let many = text("cardinality")?.is_some_and(|cardinality| cardinality.eq_ignore_ascii_case("many"));
    if many {
        return Err("cardinality many is not hosted".into());
    }
    match kind {
        "httpTrigger" => {
            // Keys are the platform's; locally, as in Skein's deployments, the front decides who may call.
            let level = text("authLevel")?.unwrap_or_else(|| "function".into());
            if !level.eq_ignore_ascii_case("anonymous") {
                return Err(format!("authLevel {level} is not hosted, only anonymous"));
            }
            let methods: Vec<String> = reader.get("/methods", "a list of texts")?.unwrap_or_default();
            let route = text("route")?.unwrap_or_else(|| function.to_owned());
            Ok(Trigger::Http {
                methods: methods.iter().map(|method| method.to_ascii_uppercase()).collect(),
                route: Route::parse(&route)?,
            })
        }
        "serviceBusTrigger" => {
            let queue = text("queueName")?.ok_or("queueName is missing; topics are not hosted")?;
            let connection = text("connection")?.unwrap_or_else(|| "AzureWebJobsServiceBus".into());
            let setting = format!("{connection}__fullyQualifiedNamespace");
            let namespace = settings.get(&setting).ok_or_else(|| format!("the app setting {setting} is missing"))?;
            // As deployed it is `{namespace}.servicebus.windows.net`; only the first label counts here.
            let namespace = namespace.split('.').next().unwrap_or_default().to_owned();
            let binary = text("dataType")?.is_some_and(|kind| kind.eq_ignore_ascii_case("binary"));
            Ok(Trigger::ServiceBus {
                connection,
                namespace,
                queue,
                sessions: reader.get("/isSessionsEnabled", "true or false")?.unwrap_or(false),
                binary,
                auto_complete: reader.get("/autoCompleteMessages", "true or false")?,
            })
        }
        "eventGridTrigger" => Ok(Trigger::EventGrid),
        "timerTrigger" => {
            let schedule = text("schedule")?.ok_or("schedule is missing")?;
            Ok(Trigger::Timer {
                schedule: schedule.parse::<Schedule>().map_err(|error| error.to_string())?,
                monitor: reader.get("/useMonitor", "true or false")?.unwrap_or(true),
                on_startup: reader.get("/runOnStartup", "true or false")?.unwrap_or(false),
            })
        }
        other => Err(format!("the binding type {other:?} is not hosted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings() -> BTreeMap<String, String> {
        BTreeMap::from([
            ("COMMANDS__fullyQualifiedNamespace".into(), "sb-skein-orders.servicebus.windows.net".into()),
            ("QUEUE".into(), "commands".into()),
        ])
    }

    fn function(name: &str, json: Value) -> Result<Option<Function>, String> {
        Function::of(name, &json, &settings())
    }

    #[test]
    fn time_spans() {
        for (text, expected) in [
            ("00:00:01", Some(Some(Duration::from_secs(1)))),
            ("1.02:03:04.5", Some(Some(Duration::from_millis(93_784_500)))),
            ("-00:00:00.0010000", Some(None)),
            ("24:00:00", None),
            ("5", None),
            ("00:00:60", None),
            ("aa:00:00", None),
        ] {
            assert_eq!(time_span(text), expected, "{text}");
        }
    }

    #[test]
    fn a_package_is_read_and_a_bad_function_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, json: Value| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, json.to_string()).unwrap();
        };
        write("bin/handler", json!(""));
        write(
            "host.json",
            json!({"version": "2.0", "functionTimeout": "00:30:00",
                "customHandler": {"description": {"defaultExecutablePath": "bin/handler", "arguments": ["%QUEUE%", "%NONE%x"]},
                    "enableForwardingHttpRequest": true},
                "extensions": {"serviceBus": {"maxConcurrentSessions": 64, "sessionIdleTimeout": "00:00:01",
                    "maxAutoLockRenewalDuration": "-00:00:00.0010000"}}}),
        );
        let bus = json!({"bindings": [{"type": "serviceBusTrigger", "name": "message", "direction": "in",
            "queueName": "%QUEUE%", "connection": "COMMANDS", "isSessionsEnabled": true, "dataType": "binary"}]});
        write("commands/function.json", bus);
        write("2bad/function.json", json!({"bindings": []}));
        std::fs::create_dir(folder.path().join("no-function")).unwrap();
        let package = Package::read(folder.path(), &settings()).unwrap();
        assert_eq!(package.host.executable, folder.path().join("bin/handler"));
        assert_eq!(package.host.arguments, ["commands", "x"]);
        assert_eq!(package.host.route_prefix, "api");
        assert_eq!(package.host.service_bus.max_concurrent_sessions, 64);
        assert_eq!(package.host.service_bus.max_auto_lock_renewal, None);
        assert_eq!(package.errors.len(), 1);
        assert!(matches!(
            &package.functions[0].trigger,
            Trigger::ServiceBus { namespace, queue, sessions: true, binary: true, .. }
                if namespace == "sb-skein-orders" && queue == "commands"
        ));
    }

    #[test]
    fn host_json_without_a_version_is_refused() {
        let error = Host::of(Path::new("/"), &json!({"customHandler": {}}), &settings()).unwrap_err();
        assert_eq!(error, "version must be \"2.0\"");
    }

    #[test]
    fn bad_functions_say_why() {
        let http = json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous"});
        let out = json!({"type": "http", "name": "res", "direction": "out"});
        for (name, bindings, expected) in [
            ("host", json!([]), "the name must match ^[a-z][a-z0-9_-]{0,127}$ and not be host"),
            ("f", json!([]), "there is no trigger"),
            ("f", json!([http]), "an httpTrigger needs an http output"),
            ("f", json!([{"type": "blobTrigger", "name": "b"}]), "the binding type \"blobTrigger\" is not hosted"),
            ("f", json!([{"type": "serviceBusTrigger", "name": "m"}]), "queueName is missing; topics are not hosted"),
            (
                "f",
                json!([{"type": "serviceBusTrigger", "name": "m", "queueName": "%NOPE%"}]),
                "%NOPE% names no app setting",
            ),
            (
                "f",
                json!([{"type": "serviceBusTrigger", "name": "m", "queueName": "q", "connection": "X"}]),
                "the app setting X__fullyQualifiedNamespace is missing",
            ),
            ("f", json!([{"type": "timerTrigger", "name": "t", "schedule": "* * * * *"}]), ""),
        ] {
            let error = function(name, json!({"bindings": bindings})).unwrap_err();
            assert!(error == expected || expected.is_empty(), "{error}");
        }
        let plain = function("f", json!({"bindings": [http, out]})).unwrap().unwrap();
        assert!(plain.plain_http);
    }
}
