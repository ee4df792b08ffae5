//! The inventory service's two function apps.

pub mod schema;

use inventory_domain::reactions::{FollowOrders, NoteAnswers, TakeReturns};
use inventory_domain::reservation::{
    CancelReservation, NoteRefused, NoteReserved, Reservation, SellReservation, StartReservation,
};
use inventory_domain::stock::{
    AdjustStock, ReceiveStock, ReleaseStock, ReserveStock, RestockSold, ReturnUnits, SellStock, Stock,
};
use inventory_domain::views::{StockLevels, TopSkus};
use schema::{Mutation, Query};
use skein::graphql::{ApiBuilder, Operations, api};
use skein::{CommandApp, CommandSettings, Ports, QueryApp, QueryPorts, QuerySettings, command_app, query_app};

/// The service's GraphQL schema: both apps know all of it, each serves its side.
pub fn schema() -> ApiBuilder<Query, Mutation> {
    api(Query, Mutation).operations(Operations::of(include_str!("../operations.json")))
}

/// The command app: what stocks and reservations decide on.
pub fn commands(settings: CommandSettings, ports: Ports) -> CommandApp<Query, Mutation> {
    command_app(settings, ports, schema()).commands(|handler| {
        handler
            .handle::<Stock, ReceiveStock>()
            .handle::<Stock, AdjustStock>()
            .handle::<Stock, ReserveStock>()
            .handle::<Stock, ReleaseStock>()
            .handle::<Stock, SellStock>()
            .handle::<Stock, RestockSold>()
            .handle::<Stock, ReturnUnits>()
            .handle::<Reservation, StartReservation>()
            .handle::<Reservation, NoteReserved>()
            .handle::<Reservation, NoteRefused>()
            .handle::<Reservation, SellReservation>()
            .handle::<Reservation, CancelReservation>()
    })
}

/// The query app: the views of stocks, and what orders, returns and stocks lead to.
pub fn queries(settings: QuerySettings, ports: QueryPorts) -> QueryApp<Query, Mutation> {
    query_app(settings, ports, schema()).events(|events| {
        events
            .project::<StockLevels>()
            .top_list::<TopSkus>()
            .react::<FollowOrders>()
            .react::<NoteAnswers>()
            .react::<TakeReturns>()
    })
}
