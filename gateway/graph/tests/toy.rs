//! Two services and the whole of them, as an executor of GraphQL has them.

use async_graphql::{
    EmptySubscription, Enum, Error, ErrorExtensions as _, ID, InputObject, MergedObject, Object, Request, Result,
    Schema, SimpleObject, Variables,
};
use serde_json::Value;
use skein_graph::{Graph, compose};
use tokio::runtime::{Builder, Runtime};

#[derive(Enum, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Done,
}

#[derive(SimpleObject)]
struct Status {
    state: State,
    by: String,
    #[graphql(name = "_0")]
    odd: Option<i32>,
}

#[derive(SimpleObject)]
struct Money {
    amount: i32,
    currency: Option<String>,
}

#[derive(InputObject)]
struct Filter {
    at_least: Option<i32>,
    names: Option<Vec<String>>,
}

struct Order(String);

#[Object]
impl Order {
    async fn id(&self) -> ID {
        self.0.clone().into()
    }
    async fn total(&self) -> Money {
        Money { amount: self.0.len() as i32, currency: self.0.strip_prefix('1').map(str::to_owned) }
    }
    /// Fails, and may be null.
    async fn note(&self, text: Option<String>) -> Result<Option<String>> {
        match text.as_deref() {
            Some("bad") => Err(coded(format!("no note for {}", self.0))),
            text => Ok(text.map(|text| format!("{text} {}", self.0))),
        }
    }
    /// Fails, and may not be null.
    async fn weight(&self, times: i32) -> Result<i32> {
        if times < 0 { Err(coded("it weighs nothing".to_owned())) } else { Ok(times) }
    }
    async fn next(&self) -> Option<Order> {
        (self.0.len() < 3).then(|| Order(self.0.clone() + "1"))
    }
}

struct Stock(String);

#[Object]
impl Stock {
    async fn sku(&self) -> &str {
        &self.0
    }
    async fn price(&self) -> Option<Money> {
        (self.0 != "free").then_some(Money { amount: 3, currency: None })
    }
    async fn reserve(&self, units: i32) -> Result<i32> {
        if units < 0 { Err(coded(format!("{} has no {units}", self.0))) } else { Ok(units + 1) }
    }
}

fn coded(message: String) -> Error {
    Error::new(message).extend_with(|_, extensions| extensions.set("code", "REFUSED"))
}

#[derive(Default)]
struct OrdersOwn;

#[Object]
impl OrdersOwn {
    async fn order(&self, id: ID) -> Result<Option<Order>> {
        match id.as_str() {
            "bad" => Err(coded("no such order".to_owned())),
            "none" => Ok(None),
            id => Ok(Some(Order(id.to_owned()))),
        }
    }
    async fn orders(&self, first: Option<i32>) -> Result<Vec<Order>> {
        match first.unwrap_or(2) {
            first if first < 0 => Err(coded("fewer than none".to_owned())),
            first => Ok((0..first).map(|n| Order(n.to_string())).collect()),
        }
    }
    async fn count(&self, filter: Option<Filter>) -> i32 {
        filter.map_or(0, |one| one.at_least.unwrap_or(-1) + one.names.map_or(0, |names| names.concat().len() as i32))
    }
}

#[derive(Default)]
struct StocksOwn;

#[Object]
impl StocksOwn {
    async fn stock(&self, sku: String) -> Result<Option<Stock>> {
        if sku == "bad" { Err(coded("no such stock".to_owned())) } else { Ok(Some(Stock(sku))) }
    }
    async fn top(&self, first: Option<i32>) -> Vec<Stock> {
        (0..first.unwrap_or(1).max(0)).map(|n| Stock(format!("sku{n}"))).collect()
    }
}

fn status(by: &str, id: &ID) -> Result<Status> {
    let state = if id.as_str() == "done" { State::Done } else { State::Open };
    if id.as_str() == "bad" {
        Err(coded(format!("{by} knows no such")))
    } else {
        Ok(Status { state, by: by.into(), odd: None })
    }
}

/// The field that both services have, as the orders and as the whole call it.
macro_rules! statuses {
    ($kind:ident, $by:literal, $name:literal, $answer:ty, $map:expr) => {
        #[derive(Default)]
        struct $kind;

        #[Object]
        impl $kind {
            #[graphql(name = $name)]
            async fn status(&self, id: ID) -> Result<$answer> {
                status($by, &id).map($map)
            }
        }
    };
}
statuses!(OrdersStatus, "orders", "status", Status, |status| status);
statuses!(OrdersStatusOfWhole, "orders", "ordersStatus", Status, |status| status);
statuses!(StocksStatus, "stocks", "status", Option<Status>, Some);
statuses!(StocksStatusOfWhole, "stocks", "stocksStatus", Option<Status>, Some);

#[derive(Default)]
struct OrdersChange;

#[Object]
impl OrdersChange {
    async fn place(&self, id: ID) -> Result<Order> {
        if id.as_str() == "bad" { Err(coded("not that".to_owned())) } else { Ok(Order(id.to_string())) }
    }
}

#[derive(Default)]
struct StocksChange;

#[Object]
impl StocksChange {
    async fn receive(&self, sku: String, units: i32) -> Option<Stock> {
        (units > 0).then_some(Stock(sku))
    }
}

macro_rules! root {
    ($kind:ident, $name:literal, $($part:ty),*) => {
        #[derive(MergedObject, Default)]
        #[graphql(name = $name)]
        struct $kind($($part),*);
    };
}
root!(OrdersQuery, "Query", OrdersOwn, OrdersStatus);
root!(StocksQuery, "Query", StocksOwn, StocksStatus);
root!(WholeQuery, "Query", OrdersOwn, OrdersStatusOfWhole, StocksOwn, StocksStatusOfWhole);
root!(OrdersMutation, "Mutation", OrdersChange);
root!(StocksMutation, "Mutation", StocksChange);
root!(WholeMutation, "Mutation", OrdersChange, StocksChange);

/// The services, and what would answer had one of them everything.
pub(crate) struct Toy {
    orders: Schema<OrdersQuery, OrdersMutation, EmptySubscription>,
    stocks: Schema<StocksQuery, StocksMutation, EmptySubscription>,
    whole: Schema<WholeQuery, WholeMutation, EmptySubscription>,
    pub(crate) graph: Graph,
    runtime: Runtime,
}

impl Toy {
    pub(crate) fn new() -> Self {
        let orders = Schema::new(OrdersQuery::default(), OrdersMutation::default(), EmptySubscription);
        let stocks = Schema::new(StocksQuery::default(), StocksMutation::default(), EmptySubscription);
        let whole = Schema::new(WholeQuery::default(), WholeMutation::default(), EmptySubscription);
        let (orders_sdl, stocks_sdl) = (orders.sdl(), stocks.sdl());
        let schema = |service, sdl| skein_graph::Schema { service, place: service, sdl };
        let graph = compose(&[schema("orders", &orders_sdl), schema("stocks", &stocks_sdl)]).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        Toy { orders, stocks, whole, graph, runtime }
    }

    /// The schema of the whole, as its own executor says it.
    pub(crate) fn whole_sdl(&self) -> String {
        self.whole.sdl()
    }

    /// The services' own schemas.
    pub(crate) fn sdls(&self) -> [String; 2] {
        [self.orders.sdl(), self.stocks.sdl()]
    }

    /// What the executor of the whole answers to a question without variables.
    pub(crate) fn ask_whole(&self, document: &str) -> Value {
        let response = self.runtime.block_on(self.whole.execute(document));
        serde_json::to_value(&response).unwrap()
    }

    /// Whether a service executes a part: its errors, if there are some, are those of fields.
    pub(crate) fn check(&self, part: &skein_graph::Part) -> Result<(), String> {
        let variables = Variables::from_json(Value::Object(part.variables.clone()));
        let mut request = Request::new(&part.document).variables(variables);
        if let Some(name) = &part.operation_name {
            request = request.operation_name(name);
        }
        let response = self.runtime.block_on(async {
            match part.service.as_str() {
                "orders" => self.orders.execute(request).await,
                "stocks" => self.stocks.execute(request).await,
                other => panic!("there is no {other}"),
            }
        });
        match response.errors.into_iter().find(|error| error.path.is_empty()) {
            Some(error) => Err(error.message),
            None => Ok(()),
        }
    }
}

#[test]
fn the_composed_schema_is_that_of_an_executor_of_the_whole() {
    let toy = Toy::new();
    let whole = skein_graph::Schema { service: "whole", place: "whole", sdl: &toy.whole_sdl() };
    assert_eq!(compose(&[whole]).unwrap().sdl(), toy.graph.sdl());
}
