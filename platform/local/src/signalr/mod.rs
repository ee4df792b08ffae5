//! SignalR in serverless mode: clients over WebSockets with the JSON hub protocol, servers over REST, and upstreams.
//!
//! Each deployed `Microsoft.SignalRService/signalR` is a service below [`PREFIX`], with as many hubs as are named. Nothing
//! of it is durable: connections end with the process, as do the tokens of clients, which ask for new ones.

mod client;
mod hub;
mod protocol;
mod rest;
mod token;
mod upstream;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::Instant;

use self::client::{About, Session};
use self::hub::{Audience, Ending, Hub};
use self::token::{Client, Key};
use self::upstream::{Caller, Upstreams};
use crate::access::Guard;
use crate::identity::{Issuer, bearer};
use crate::outbound::Outbound;

pub use self::upstream::Template;

/// Where the services are mounted.
pub const PREFIX: &str = "/signalr";

/// How long a client may take from the negotiation to its connection.
const NEGOTIATED: Duration = Duration::from_secs(60);
/// The most negotiations without a connection, in one service.
const MAX_NEGOTIATED: usize = 10_000;

/// What a service is like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The principal of its identity.
    pub principal: Option<String>,
    /// The pages, by origin, that may connect from elsewhere.
    pub origins: Vec<String>,
    /// Where events go; the first that fits takes one.
    pub templates: Vec<Template>,
}

/// One service.
struct Service {
    name: String,
    key: Key,
    settings: RwLock<Arc<Settings>>,
    hubs: Mutex<HashMap<String, Arc<Hub>>>,
    negotiated: Mutex<HashMap<String, Negotiated>>,
}

/// A client that will connect.
struct Negotiated {
    connection: String,
    hub: String,
    client: Client,
    until: Instant,
}

impl Service {
    fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The hub of that name, in any case.
    fn hub(&self, name: &str) -> Arc<Hub> {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.entry(name.to_ascii_lowercase()).or_default().clone()
    }

    fn stop(&self) {
        for hub in self.hubs.lock().unwrap_or_else(PoisonError::into_inner).values() {
            hub.close(Audience::All, &[], &Ending::Stopped);
        }
    }
}

/// The services. Cheap to clone; all clones change at once.
#[derive(Clone)]
pub struct Services(Arc<Front>);

struct Front {
    guard: Guard,
    caller: Arc<Caller>,
    /// The planes' address.
    base: String,
    /// The origins of the gateway's own pages.
    pages: Vec<String>,
    /// By name in lower case.
    services: RwLock<BTreeMap<String, Arc<Service>>>,
}

impl Services {
    /// None yet. `base` is the planes' address, `gateway` that of the gateway, whose pages may connect.
    pub fn new(guard: impl Into<Guard>, issuer: Arc<Issuer>, client: Outbound, base: &str, gateway: &str) -> Self {
        let pages = vec![gateway.to_owned(), gateway.replace("//127.0.0.1", "//localhost")];
        Services(Arc::new(Front {
            guard: guard.into(),
            caller: Arc::new(Caller::new(issuer, client)),
            base: base.to_owned(),
            pages,
            services: RwLock::default(),
        }))
    }

    /// Has these services, by name, and no others. Connections to one that stays are not touched.
    ///
    /// # Errors
    /// A system without random bits.
    pub fn replace(&self, wanted: &BTreeMap<String, Settings>) -> Result<(), getrandom::Error> {
        let mut services = self.0.services.write().unwrap_or_else(PoisonError::into_inner);
        services.retain(|_, service| {
            let stays = wanted.contains_key(&service.name);
            if !stays {
                service.stop();
            }
            stays
        });
        for (name, settings) in wanted {
            let settings = Arc::new(settings.clone());
            match services.get(&name.to_lowercase()) {
                Some(service) => *service.settings.write().unwrap_or_else(PoisonError::into_inner) = settings,
                None => {
                    let service = Service {
                        name: name.clone(),
                        key: Key::new()?,
                        settings: RwLock::new(settings),
                        hubs: Mutex::default(),
                        negotiated: Mutex::default(),
                    };
                    services.insert(name.to_lowercase(), Arc::new(service));
                }
            }
        }
        Ok(())
    }

    /// Ends all connections.
    pub fn stop(&self) {
        for service in self.0.services.read().unwrap_or_else(PoisonError::into_inner).values() {
            service.stop();
        }
    }

    /// The routes, to be nested under [`PREFIX`].
    pub fn router(&self) -> Router {
        Router::new()
            .route("/{service}/client/negotiate", any(negotiate))
            .route("/{service}/client", any(connect))
            .route("/{service}/client/", any(connect))
            .fallback(rest_call)
            .with_state(self.0.clone())
    }
}

impl Front {
    fn service(&self, name: &str) -> Option<Arc<Service>> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(&name.to_lowercase()).cloned()
    }

    /// Where clients of a hub connect: the audience of their tokens.
    fn client_url(&self, service: &str, hub: &str) -> String {
        format!("{}{PREFIX}/{service}/client/?hub={hub}", self.base)
    }

    /// The service, hub and client of a request.
    fn client(&self, name: &str, request: &Request) -> Result<(Arc<Service>, String, Client), Box<Response>> {
        let refuse = |status: StatusCode, why: &str| Box::new(rest::refusal(status, why));
        let service = self.service(name).ok_or_else(|| refuse(StatusCode::NOT_FOUND, "there is no such service"))?;
        let query = rest::query(request.uri());
        let value = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let hub = value("hub").filter(|hub| rest::is_hub(hub));
        let hub = hub.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "the query has to name a hub"))?;
        // A browser cannot set headers of a WebSocket.
        let token = bearer(request.headers()).or_else(|| value("access_token"));
        let client = match token {
            Some(token) => service.key.verify(token, &self.client_url(&service.name, hub)),
            None => Err("a token is expected"),
        };
        match client {
            Ok(client) => Ok((service, hub.to_owned(), client)),
            Err(why) => {
                let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
                Err(Box::new((challenge, *refuse(StatusCode::UNAUTHORIZED, why)).into_response()))
            }
        }
    }

    /// The origin of a page that may connect.
    fn origin(&self, name: &str, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        let settings = self.service(name)?.settings();
        let allowed =
            self.pages.iter().chain(&settings.origins).any(|one| one == "*" || one.eq_ignore_ascii_case(text));
        allowed.then(|| origin.clone())
    }
}

/// Lets the page of an origin read the answer.
fn shared(origin: Option<HeaderValue>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    response
}

async fn negotiate(State(front): State<Arc<Front>>, Path(name): Path<String>, request: Request) -> Response {
    let origin = front.origin(&name, request.headers());
    if request.method() == Method::OPTIONS {
        let mut response = StatusCode::NO_CONTENT.into_response();
        if let (Some(_), Some(wanted)) = (&origin, request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS)) {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        }
        return shared(origin, response);
    }
    shared(origin, negotiated(&front, &name, &request).unwrap_or_else(|refused| *refused))
}

fn negotiated(front: &Front, name: &str, request: &Request) -> Result<Response, Box<Response>> {
    let refuse = |status: StatusCode, why: &str| Box::new(rest::refusal(status, why));
    if request.method() != Method::POST {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "clients negotiate by POST"));
    }
    let (service, hub, client) = front.client(name, request)?;
    let query = rest::query(request.uri());
    let version = query.iter().find(|(name, _)| name == "negotiateVersion").map_or("0", |(_, version)| version);
    let version: u32 =
        version.parse().map_err(|_| refuse(StatusCode::BAD_REQUEST, "negotiateVersion has to be a number"))?;
    let random = || {
        let mut bytes = [0; 16];
        let filled = getrandom::fill(&mut bytes);
        filled.map_err(|error| refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))?;
        Ok::<_, Box<Response>>(URL_SAFE_NO_PAD.encode(bytes))
    };
    let connection = random()?;
    let token = if version == 0 { connection.clone() } else { random()? };
    {
        let mut waiting = service.negotiated.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if waiting.len() >= MAX_NEGOTIATED {
            waiting.retain(|_, one| one.until > now);
        }
        if waiting.len() >= MAX_NEGOTIATED {
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "too many clients have negotiated and do not connect"));
        }
        let one = Negotiated { connection: connection.clone(), hub, client, until: now + NEGOTIATED };
        waiting.insert(token.clone(), one);
    }
    let mut answer = json!({
        "negotiateVersion": version.min(1),
        "connectionId": connection,
        "availableTransports": [{ "transport": "WebSockets", "transferFormats": ["Text", "Binary"] }],
    });
    if version > 0 {
        answer["connectionToken"] = token.into();
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

async fn connect(State(front): State<Arc<Front>>, Path(name): Path<String>, request: Request) -> Response {
    connected(front, &name, request).await.unwrap_or_else(|refused| *refused)
}

async fn connected(front: Arc<Front>, name: &str, request: Request) -> Result<Response, Box<Response>> {
    let refuse = |status: StatusCode, why: &str| Box::new(rest::refusal(status, why));
    let (service, hub, client) = front.client(name, &request)?;
    let query = rest::query(request.uri());
    let id = query.iter().find(|(name, _)| name == "id").map(|(_, id)| id.clone());
    let id = id.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "a client has to negotiate before it connects"))?;
    let (mut head, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut head, &()).await;
    let upgrade = upgrade.map_err(|refused| Box::new(refused.into_response()))?;
    // A negotiation is good for one connection, of the same client to the same hub.
    let known = service.negotiated.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    let known = known.filter(|one| one.until > Instant::now() && one.hub == hub && one.client.user == client.user);
    let known = known.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "there is no connection with that id"))?;
    let told: Vec<String> = query
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "id" | "access_token"))
        .map(|(name, value)| {
            let encode = |text: &str| {
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            format!("{}={}", encode(name), encode(value))
        })
        .collect();
    let left = client.expires - OffsetDateTime::now_utc().unix_timestamp();
    let about = About { connection: known.connection, hub, user: client.user, query: format!("?{}", told.join("&")) };
    let session = Session {
        hub: service.hub(&about.hub),
        about: Arc::new(about),
        upstream: Arc::new(Upstreams { service, caller: front.caller.clone() }),
        expires: Instant::now() + Duration::from_secs(left.max(0).unsigned_abs()),
    };
    let upgrade = upgrade.max_message_size(2 * client::MAX_MESSAGE).max_frame_size(2 * client::MAX_MESSAGE);
    Ok(upgrade.on_upgrade(|socket| client::serve(socket, session)))
}

async fn rest_call(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    rest::answer(&front, &head.method, &head.uri, &head.headers, body).await
}

#[cfg(test)]
mod tests;
