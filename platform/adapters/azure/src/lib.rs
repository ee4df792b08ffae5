//! The ports on Azure: Tables, Service Bus, Event Grid.
