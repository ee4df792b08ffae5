//! Bootstrap against a small double of Microsoft Graph and ARM, which holds each request to what the documentation shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use expect_test::expect;
use tokio::sync::Notify;

use super::*;

const SUBSCRIPTION: &str = "11111111-2222-3333-4444-555555555555";
const TENANT: &str = "99999999-2222-3333-4444-555555555555";
const SENDER: &str = "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39";
const TABLES: &str = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3";

/// A credential that checks what it is asked for.
struct Fixed(&'static str);

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

#[async_trait]
impl TokenCredential for Fixed {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let scope = if self.0 == "graph" { GRAPH_SCOPE } else { ARM_SCOPE };
        assert_eq!(scopes, [scope]);
        Ok(AccessToken::new(self.0, OffsetDateTime::now_utc() + Duration::from_secs(3600)))
    }
}

/// What the double has, each by its path.
#[derive(Debug, Default, Clone, PartialEq)]
struct World {
    applications: BTreeMap<String, Json>,
    principals: BTreeMap<String, Json>,
    /// By the application's object id.
    credentials: BTreeMap<String, BTreeMap<String, Json>>,
    assignments: BTreeMap<String, Json>,
}

#[derive(Default)]
struct Inner {
    world: World,
    /// Requests that the documentation does not know.
    wrong: Vec<String>,
    writes: usize,
    /// The write after which nothing is answered any more, as if the caller had been killed.
    silent_after: Option<usize>,
    /// How many requests that need what was just made are told that it is not known yet.
    late: usize,
    denied: bool,
}

#[derive(Clone, Default)]
struct Double(Arc<Mutex<Inner>>, Arc<Notify>);

impl Double {
    async fn start(&self) -> String {
        let app = Router::new().fallback(answer).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    fn world(&self) -> World {
        let inner = self.0.lock().unwrap();
        assert_eq!(inner.wrong, Vec::<String>::new(), "requests that nobody documents");
        inner.world.clone()
    }

    fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }
}

async fn answer(State(double): State<Double>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let (response, silent) = {
        let mut inner = double.0.lock().unwrap();
        let json: Json = serde_json::from_slice(&body).unwrap_or_default();
        let graph = path.starts_with("/v1.0/");
        let mut complain = |why: &str| inner.wrong.push(format!("{} {path}?{query} {json}: {why}", head.method));
        if header("authorization") != if graph { "Bearer graph" } else { "Bearer arm" } {
            complain("another token");
        }
        let reads = head.method == "GET";
        if !reads && header("content-type") != "application/json" {
            complain("no JSON");
        }
        if head.method == "PATCH" && header("prefer") != "create-if-missing" {
            complain("an upsert prefers to create");
        }
        let writes = inner.writes;
        let response = if graph {
            inner.graph(head.method.as_str(), path, &json)
        } else {
            inner.arm(head.method.as_str(), path, query, &json)
        };
        if !reads && response.0 < 300 {
            inner.writes += 1;
        }
        (response, inner.writes > writes && inner.silent_after == Some(inner.writes))
    };
    if silent {
        double.1.notify_one();
        std::future::pending::<()>().await;
    }
    let (status, body) = response;
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

fn error(status: u16, code: &str) -> (u16, Json) {
    (status, json!({"error": {"code": code, "message": format!("the double says {code}")}}))
}

/// What stands in `before('…')after`.
fn key<'p>(path: &'p str, before: &str, after: &str) -> Option<&'p str> {
    path.strip_prefix(before)?.strip_suffix(after).filter(|key| !key.contains(['\'', '/']))
}

impl Inner {
    fn known(&mut self, body: &Json, fields: &[&str]) {
        for (field, _) in body.as_object().into_iter().flatten() {
            if !fields.contains(&field.as_str()) {
                self.wrong.push(format!("{field} is not known"));
            }
        }
    }

    fn graph(&mut self, method: &str, path: &str, body: &Json) -> (u16, Json) {
        if self.denied && method != "GET" {
            return error(403, "Authorization_RequestDenied");
        }
        if let Some(name) = key(path, "/v1.0/applications(uniqueName='", "')") {
            let name = name.to_owned();
            if method == "GET" {
                return self
                    .world
                    .applications
                    .get(&name)
                    .map_or(error(404, "Request_ResourceNotFound"), |app| (200, app.clone()));
            }
            self.known(body, &["displayName", "signInAudience", "identifierUris", "appRoles"]);
            if !body["displayName"].is_string() {
                return error(400, "Request_BadRequest");
            }
            for uri in body["identifierUris"].as_array().into_iter().flatten() {
                if !uri.as_str().unwrap_or_default().starts_with(&format!("api://{TENANT}/")) {
                    return error(400, "HostNameNotOnVerifiedDomain");
                }
            }
            let old = self.world.applications.get(&name).cloned();
            let is_new = old.is_none();
            let mut app = old.unwrap_or_else(|| {
                json!({"id": format!("object-{name}"), "appId": format!("client-{name}"), "uniqueName": name,
                    "identifierUris": [], "appRoles": []})
            });
            for (field, value) in body.as_object().unwrap() {
                app[field] = value.clone();
            }
            self.world.applications.insert(name, app.clone());
            return if is_new { (201, app) } else { (204, Json::Null) };
        }
        if let Some(client) = key(path, "/v1.0/servicePrincipals(appId='", "')") {
            let client = client.to_owned();
            if method == "GET" {
                return self
                    .world
                    .principals
                    .get(&client)
                    .map_or(error(404, "Request_ResourceNotFound"), |one| (200, one.clone()));
            }
            self.known(body, &["displayName"]);
            if !self.world.applications.values().any(|app| app["appId"] == client.as_str()) || self.too_early() {
                return error(400, "NoBackingApplicationObject");
            }
            let principal =
                json!({"id": format!("principal-{client}"), "appId": client, "displayName": body["displayName"]});
            self.world.principals.insert(client, principal.clone());
            return (201, principal);
        }
        let Some(rest) = path.strip_prefix("/v1.0/applications/") else {
            self.wrong.push(format!("{method} {path}"));
            return error(400, "Request_BadRequest");
        };
        let (id, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if !self.world.applications.values().any(|app| app["id"] == id) {
            return error(404, "Request_ResourceNotFound");
        }
        let credentials = self.world.credentials.entry(id.to_owned()).or_default();
        match (method, rest, key(rest, "federatedIdentityCredentials(name='", "')")) {
            ("GET", "federatedIdentityCredentials", _) => {
                (200, json!({"value": credentials.values().collect::<Vec<_>>()}))
            }
            ("PATCH", _, Some(name)) => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                let fits = (3..=120).contains(&name.len()) && name.chars().all(is_name) && body["name"] == name;
                let twice = credentials.iter().any(|(other, one)| {
                    other != name && one["issuer"] == body["issuer"] && one["subject"] == body["subject"]
                });
                if !fits || twice || body["audiences"] != json!(["api://AzureADTokenExchange"]) {
                    return error(400, "Request_BadRequest");
                }
                credentials.insert(name.to_owned(), body.clone());
                let body = body.clone();
                self.known(&body, &["name", "issuer", "subject", "audiences", "description"]);
                (201, body)
            }
            _ => {
                self.wrong.push(format!("{method} {path}"));
                error(400, "Request_BadRequest")
            }
        }
    }

    fn too_early(&mut self) -> bool {
        let early = self.late > 0;
        self.late = self.late.saturating_sub(1);
        early
    }

    fn arm(&mut self, method: &str, path: &str, query: &str, body: &Json) -> (u16, Json) {
        let scope = format!("/subscriptions/{SUBSCRIPTION}");
        let base = format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
        let version = if path == scope { "api-version=2022-12-01" } else { "api-version=2022-04-01" };
        if !query.split('&').any(|part| part == version) {
            self.wrong.push(format!("{path}?{query} has another version"));
        }
        if (method, path) == ("GET", scope.as_str()) {
            return (200, json!({"id": scope, "tenantId": TENANT}));
        }
        if (method, path) == ("GET", base.as_str()) {
            let query = query.replace("%27", "'").replace("%24", "$");
            let wanted = query.split("$filter=principalId%20eq%20'").nth(1).and_then(|rest| rest.strip_suffix('\''));
            let Some(wanted) = wanted else { return error(400, "BadRequestFilter") };
            let found = self.world.assignments.values().filter(|one| one["properties"]["principalId"] == wanted);
            return (200, json!({"value": found.collect::<Vec<_>>()}));
        }
        let Some(name) = path.strip_prefix(&format!("{base}/")).filter(|_| method == "PUT") else {
            self.wrong.push(format!("{method} {path}"));
            return error(400, "BadRequest");
        };
        let properties = &body["properties"];
        let known = self.world.principals.values().any(|one| one["id"] == properties["principalId"]);
        if !known || self.too_early() {
            return error(400, "PrincipalNotFound");
        }
        if name.len() != 36 || properties["principalType"] != "ServicePrincipal" {
            return error(400, "InvalidRequest");
        }
        if properties["condition"].is_string() && properties["conditionVersion"] != "2.0" {
            return error(400, "InvalidCondition");
        }
        let twice = self.world.assignments.iter().any(|(other, one)| {
            other != name
                && one["properties"]["principalId"] == properties["principalId"]
                && one["properties"]["roleDefinitionId"] == properties["roleDefinitionId"]
        });
        if twice {
            return error(409, "RoleAssignmentExists");
        }
        let mut properties = properties.clone();
        properties["scope"] = scope.into();
        let assignment = json!({"name": name, "properties": properties});
        self.world.assignments.insert(name.to_owned(), assignment.clone());
        (201, assignment)
    }
}

const FILE: &str = "# Mine.
subscription = \"11111111-2222-3333-4444-555555555555\"
location = \"westeurope\"

[parameters]
environment = \"dev\" # which
appAudience = \"api://00000000-0000-0000-0000-000000000000/skein-dev\"
appClientId = '00000000-0000-0000-0000-000000000000' # made
deployerId = \"00000000-0000-0000-0000-000000000000\"

[pipelines]
issuer = \"https://vstoken.dev.azure.com/22222222-0000-0000-0000-000000000000\"
subjects = [\"sc://org/project/skein-dev\", \"sc://other/project/skein-dev\"]
planSubjects = [\"sc://org/project/skein-plan\"]
";

/// An environment's file, and a double.
struct Bench {
    double: Double,
    url: String,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Bench {
        let double = Double::default();
        let url = double.start().await;
        let bench = Bench { double, url, folder: tempfile::tempdir().unwrap() };
        std::fs::write(bench.file(), FILE).unwrap();
        bench
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("dev.toml")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn bootstrap(&self) -> Bootstrap {
        let mut environment = Environment::read(self.folder.path(), "dev").unwrap();
        environment.endpoint = self.url.clone();
        let mut bootstrap = Bootstrap::new(
            environment,
            &[layer(&[SENDER, TABLES])],
            &self.url,
            Arc::new(Fixed("graph")),
            Arc::new(Fixed("arm")),
        )
        .unwrap();
        bootstrap.pace = Duration::from_millis(1);
        bootstrap
    }

    /// What there is to do.
    async fn open(&self) -> Vec<String> {
        let rows = self.bootstrap().walk(false).await.unwrap().0;
        rows.iter().filter(|row| row.mark != Mark::There).map(ToString::to_string).collect()
    }
}

fn layer(roles: &[&str]) -> Layer {
    let roles = roles.iter().map(|role| {
        json!({"roleDefinitionId":
            format!("[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{role}')]")})
    });
    Layer { name: "orders".into(), template: json!({"resources": roles.collect::<Vec<_>>()}) }
}

#[tokio::test]
async fn looking_shows_everything_and_changes_nothing() {
    let bench = Bench::new().await;
    let rows = bench.bootstrap().walk(false).await.unwrap().0;
    let told: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let told = told.replace(&bench.file().display().to_string(), "dev.toml");
    expect![[r#"
        + the application skein-dev, the function apps
        + the service principal of skein-dev
        + the application skein-dev-deploy, who deploys
        + the service principal of skein-dev-deploy
        + skein-dev-deploy trusts sc://org/project/skein-dev of https://vstoken.dev.azure.com/22222222-0000-0000-0000-000000000000
        + skein-dev-deploy trusts sc://other/project/skein-dev of https://vstoken.dev.azure.com/22222222-0000-0000-0000-000000000000
        + skein-dev-deploy is Contributor of the subscription
        + skein-dev-deploy is Role Based Access Control Administrator of the subscription, for the roles of the templates only
        + the application skein-dev-plan, who plans
        + the service principal of skein-dev-plan
        + skein-dev-plan trusts sc://org/project/skein-plan of https://vstoken.dev.azure.com/22222222-0000-0000-0000-000000000000
        + skein-dev-plan is Reader of the subscription
        ~ dev.toml:7: appAudience
        ~ dev.toml:8: appClientId
        ~ dev.toml:9: deployerId
    "#]]
    .assert_eq(&told);
    assert_eq!(bench.double.world(), World::default());
    assert_eq!(bench.text(), FILE);
}

#[tokio::test]
async fn everything_is_made_once_and_then_found() {
    let bench = Bench::new().await;
    let (_, found) = bench.bootstrap().walk(true).await.unwrap();
    let world = bench.double.world();
    let app = &world.applications["skein-dev"];
    assert_eq!(app["identifierUris"], json!([format!("api://{TENANT}/skein-dev")]));
    assert_eq!(app["appRoles"][0]["value"], "Call");
    assert_eq!((world.applications.len(), world.principals.len()), (3, 3));
    assert_eq!(world.credentials["object-skein-dev-deploy"].len(), 2, "two subjects that end alike are two");
    assert_eq!(world.assignments.len(), 3);
    let conditions: Vec<&str> =
        world.assignments.values().filter_map(|one| one["properties"]["condition"].as_str()).collect();
    expect!["((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3, 69a216fc-b8fb-44d8-bc22-1f3c2cd27a39})) AND ((!(ActionMatches{'Microsoft.Authorization/roleAssignments/delete'})) OR (@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3, 69a216fc-b8fb-44d8-bc22-1f3c2cd27a39}))"].assert_eq(conditions[0]);
    assert_eq!(conditions.len(), 1);
    let made = FILE
        .replace("api://00000000-0000-0000-0000-000000000000/skein-dev", &format!("api://{TENANT}/skein-dev"))
        .replace("'00000000-0000-0000-0000-000000000000'", "\"client-skein-dev\"")
        .replace("\"00000000-0000-0000-0000-000000000000\"", "\"principal-client-skein-dev-deploy\"");
    assert_eq!(bench.text(), made, "and everything else stays as it was");
    assert_eq!(found.json()["clientIds"]["skein-dev"], "client-skein-dev");

    assert_eq!(bench.open().await, Vec::<String>::new());
    let writes = bench.double.writes();
    bench.bootstrap().walk(true).await.unwrap();
    assert_eq!(bench.double.writes(), writes, "nothing is done twice");
    assert_eq!((bench.double.world(), bench.text()), (world, made));
}

#[tokio::test]
async fn killed_after_any_write_and_run_again_it_ends_the_same() {
    let whole = Bench::new().await;
    whole.bootstrap().walk(true).await.unwrap();
    let (world, text, writes) = (whole.double.world(), whole.text(), whole.double.writes());
    assert!(writes >= 12, "{writes}");
    for kill in 1..=writes {
        let bench = Bench::new().await;
        bench.double.0.lock().unwrap().silent_after = Some(kill);
        let bootstrap = bench.bootstrap();
        tokio::select! {
            done = bootstrap.walk(true) => panic!("it was not killed: {done:?}"),
            () = bench.double.1.notified() => {}
        }
        bench.double.0.lock().unwrap().silent_after = None;
        bench.bootstrap().walk(true).await.unwrap();
        assert_eq!((bench.double.world(), bench.text()), (world.clone(), text.clone()), "killed after write {kill}");
        assert_eq!(bench.double.writes(), writes, "killed after write {kill}: nothing was made twice");
    }
}

#[tokio::test]
async fn what_is_not_known_everywhere_yet_is_waited_for() {
    let bench = Bench::new().await;
    bench.double.0.lock().unwrap().late = 5;
    bench.bootstrap().walk(true).await.unwrap();
    assert_eq!(bench.open().await, Vec::<String>::new());
    assert_eq!(bench.double.0.lock().unwrap().late, 0);
}

#[tokio::test]
async fn what_others_added_stays_and_a_new_role_of_the_templates_is_allowed() {
    let bench = Bench::new().await;
    bench.bootstrap().walk(true).await.unwrap();
    let extra = json!({"id": "1", "value": "Other"});
    {
        let mut inner = bench.double.0.lock().unwrap();
        let app = inner.world.applications.get_mut("skein-dev").unwrap();
        app["appRoles"] = json!([extra]);
        app["identifierUris"] = json!([format!("api://{TENANT}/other")]);
    }
    let mut bootstrap = bench.bootstrap();
    bootstrap.roles = BTreeSet::from([SENDER.to_owned()]);
    let rows = bootstrap.walk(true).await.unwrap().0;
    let changed: Vec<String> = rows.iter().filter(|row| row.mark != Mark::There).map(ToString::to_string).collect();
    assert_eq!(
        changed,
        [
            "~ the application skein-dev, the function apps",
            "~ skein-dev-deploy is Role Based Access Control Administrator of the subscription, for the roles of the templates only",
        ]
    );
    let world = bench.double.world();
    let app = &world.applications["skein-dev"];
    assert_eq!((app["appRoles"].as_array().unwrap().len(), &app["appRoles"][0]), (2, &extra));
    assert_eq!(app["identifierUris"].as_array().unwrap().len(), 2);
    assert_eq!(world.assignments.len(), 3, "it is changed, not made again");
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let bench = Bench::new().await;
    bench.double.0.lock().unwrap().denied = true;
    let failure = bench.bootstrap().walk(true).await.unwrap_err();
    assert_eq!(failure.code(), 4);
    expect![[r#"
        error: the application skein-dev, the function apps: the double says Authorization_RequestDenied
         code: Authorization_RequestDenied (HTTP 403)
         next: let an administrator give you the Entra role Application Developer"#]]
    .assert_eq(&failure.to_string());

    bench.double.0.lock().unwrap().denied = false;
    std::fs::write(bench.file(), FILE.replace("api://00000000-0000-0000-0000-000000000000", "api://mine")).unwrap();
    let failure = bench.bootstrap().walk(true).await.unwrap_err();
    assert!(failure.to_string().ends_with("next: give appAudience the form api://TENANT/NAME, or a verified domain"));
    assert_eq!(bench.double.world(), World::default());
}

#[tokio::test]
async fn placeholders_are_told_before_anything_is_asked() {
    let bench = Bench::new().await;
    for (from, place) in [
        (SUBSCRIPTION, "dev.toml:2: subscription is a placeholder"),
        ("22222222-0000-0000-0000-000000000000", "dev.toml:12: pipelines.issuer is a placeholder"),
    ] {
        std::fs::write(bench.file(), FILE.replace(from, PLACEHOLDER)).unwrap();
        let failure = bench.bootstrap().check().unwrap_err();
        assert!(failure.to_string().contains(place), "{failure}");
        assert_eq!(failure.code(), 2);
    }
    std::fs::write(bench.file(), FILE).unwrap();
    bench.bootstrap().check().unwrap();
    let local = "subscription = 's'\nlocation = 'l'\n";
    let local = Environment::parse("local", "local.toml", local).unwrap();
    let refused = Bootstrap::new(local, &[], GRAPH, Arc::new(Fixed("graph")), Arc::new(Fixed("arm"))).err().unwrap();
    assert!(refused.to_string().contains("there is no table [pipelines]"), "{refused}");
}

#[test]
fn without_a_terminal_it_wants_the_flag() {
    // Tests have no terminal where they run in CI; with one there is nothing to see here.
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        assert_eq!(agreed(false).unwrap_err().code(), 2);
    }
    assert!(agreed(true).unwrap());
}

#[test]
fn a_parameter_that_is_not_there_is_added() {
    let text = "location = 'l'\n\n[parameters]\na = 1\n";
    assert_eq!(with_parameter(text, "b", "x"), "location = 'l'\n\n[parameters]\nb = \"x\"\na = 1\n");
    assert_eq!(with_parameter("location = 'l'\n", "b", "x"), "location = 'l'\n\n[parameters]\nb = \"x\"\n");
}
