//! The orders service's two function apps.

pub mod schema;

use orders_domain::erasure::{Customer, EraseCustomer};
use orders_domain::order::{BackorderOrder, CancelOrder, ConfirmOrder, Order, PlaceOrder};
use orders_domain::reactions::ConfirmOrBackorder;
use orders_domain::returns::{RecordReturn, Return};
use orders_domain::views::{CustomerOrders, CustomerTotals, Orders};
use schema::{Follow, Mutation, Query};
use skein::graphql::{ApiBuilder, Operations, live_api};
use skein::{CommandApp, CommandSettings, Ports, QueryApp, QueryPorts, QuerySettings, command_app, query_app};

/// The service's GraphQL schema: both apps know all of it, each serves its side.
pub fn schema() -> ApiBuilder<Query, Mutation, Follow> {
    live_api(Query, Mutation, Follow).operations(Operations::of(include_str!("../operations.json")))
}

/// The command app: what orders and returns decide on.
pub fn commands(settings: CommandSettings, ports: Ports) -> CommandApp<Query, Mutation, Follow> {
    command_app(settings, ports, schema()).commands(|handler| {
        handler
            .handle::<Order, PlaceOrder>()
            .handle::<Order, ConfirmOrder>()
            .handle::<Order, BackorderOrder>()
            .handle::<Order, CancelOrder>()
            .handle::<Return, RecordReturn>()
            .handle::<Customer, EraseCustomer>()
    })
}

/// The query app: the views of orders, and what their events lead to.
pub fn queries(settings: QuerySettings, ports: QueryPorts) -> QueryApp<Query, Mutation, Follow> {
    query_app(settings, ports, schema()).events(|events| {
        events.project::<Orders>().project::<CustomerOrders>().project::<CustomerTotals>().react::<ConfirmOrBackorder>()
    })
}
