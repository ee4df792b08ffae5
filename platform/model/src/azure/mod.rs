//! Azure's resource types, as Rust types: the ones in use, every property of them.
//!
//! One module for each provider, generated from the type data of the Bicep compiler; see `tests/azure_types.rs`, which
//! tells when they are stale and writes them. An object is made with what it requires and takes the rest by methods of
//! its properties' names; a value that Azure gives is read by the same names. A text of a closed list is an enum.
//!
//! ```
//! use skein_model::arm::{Scope, Template};
//! use skein_model::azure::servicebus::{Namespace, Queue, SBQueueProperties, SBSku, SBSkuName};
//!
//! let mut template = Template::new(Scope::Group);
//! let namespace = template.add("bus", "sb-desk", Namespace::new("westeurope").sku(SBSku::new(SBSkuName::Standard)));
//! let queue = Queue::new().properties(SBQueueProperties::new().requires_session(true).lock_duration("PT5M"));
//! template.child("commands", &namespace, "commands", queue);
//! template.output("endpoint", namespace.deployed().properties().service_bus_endpoint());
//! assert_eq!(template.check(), Ok(()));
//! ```
//!
//! A misspelt property does not compile:
//! ```compile_fail,E0599
//! # use skein_model::azure::servicebus::SBQueueProperties;
//! SBQueueProperties::new().requires_sessions(true);
//! ```
//! Nor does a missing required one:
//! ```compile_fail,E0061
//! # use skein_model::azure::servicebus::SBSku;
//! SBSku::new();
//! ```
//! Nor a value that the list does not have, nor one of another type:
//! ```compile_fail,E0277
//! # use skein_model::azure::servicebus::SBSku;
//! SBSku::new("Cheap");
//! ```
//! ```compile_fail,E0277
//! # use skein_model::azure::servicebus::SBQueueProperties;
//! SBQueueProperties::new().requires_session("yes");
//! ```
//! Nor a queue below anything but a namespace:
//! ```compile_fail,E0271
//! # use skein_model::arm::{Scope, Template};
//! # use skein_model::azure::{msi, servicebus::Queue};
//! let mut template = Template::new(Scope::Group);
//! let identity = template.add("identity", "id-desk", msi::Identity::new("westeurope"));
//! template.child("commands", &identity, "commands", Queue::new());
//! ```
//! Nor a literal where only a secure parameter may stand:
//! ```compile_fail,E0277
//! # use skein_model::azure::keyvault::SecretProperties;
//! SecretProperties::new().value("hunter2");
//! ```

/// An object: its required properties, the optional ones, and those that only Azure sets.
macro_rules! object {
    ($(#[$about:meta])* $name:ident
        { $($(#[$rdoc:meta])* $req:ident: $rty:ty = $rkey:literal,)* }
        { $($(#[$odoc:meta])* $opt:ident: $oty:ty = $okey:literal,)* }
        { $($(#[$gdoc:meta])* $got:ident: $gty:ty = $gkey:literal,)* }
        $({ $fkey:literal: $fixed:literal })?
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name($crate::arm::Object);

        impl $name {
            /// One with what it requires.
            #[inline]
            #[allow(unused_mut, clippy::new_without_default, clippy::too_many_arguments)]
            pub fn new($($req: impl Into<$crate::arm::Of<$rty>>),*) -> Self {
                let mut object = $crate::arm::Object::new();
                $(object.set($fkey, $fixed);)?
                $(object.set($rkey, $req.into());)*
                $name(object)
            }

            $(
                $(#[$odoc])*
                #[inline]
                #[must_use]
                pub fn $opt(mut self, value: impl Into<$crate::arm::Of<$oty>>) -> Self {
                    self.0.set($okey, value.into());
                    self
                }
            )*
        }

        impl From<$name> for $crate::arm::Object {
            #[inline]
            fn from(object: $name) -> Self {
                object.0
            }
        }

        impl From<$name> for $crate::arm::Of<$name> {
            #[inline]
            fn from(object: $name) -> Self {
                $crate::arm::Of::trust(object.0)
            }
        }

        impl $crate::arm::Of<$name> {
            $(
                $(#[$rdoc])*
                #[inline]
                pub fn $req(&self) -> $crate::arm::Of<$rty> {
                    self.member($rkey)
                }
            )*
            $(
                $(#[$odoc])*
                #[inline]
                pub fn $opt(&self) -> $crate::arm::Of<$oty> {
                    self.member($okey)
                }
            )*
            $(
                $(#[$gdoc])*
                #[inline]
                pub fn $got(&self) -> $crate::arm::Of<$gty> {
                    self.member($gkey)
                }
            )*
        }
    };
}

/// A text of a closed list.
macro_rules! texts {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the texts are Azure's")]
        pub enum $name { $($variant,)* }

        impl $name {
            /// The text.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl From<$name> for $crate::arm::Of<$name> {
            fn from(text: $name) -> Self {
                $crate::arm::Of::trust(text.as_str())
            }
        }

        impl $crate::arm::ParameterType for $name {
            const KIND: &'static str = "string";
            const ALLOWED: &'static [&'static str] = &[$($text),*];
        }
    };
}

/// One of several objects, told apart by a property that each of them sets.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($one:ident,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {}

        $(impl From<$one> for $crate::arm::Of<$name> {
            #[inline]
            fn from(object: $one) -> Self {
                $crate::arm::Of::trust($crate::arm::Object::from(object))
            }
        })*
    };
}

/// What makes an object a type of resource.
macro_rules! resource {
    ($name:ident = $kind:literal @ $version:literal, $scopes:literal, $only:expr, [$($above:ty)?]) => {
        impl $crate::arm::ResourceType for $name {
            const KIND: &'static $crate::arm::Kind =
                &$crate::arm::Kind { name: $kind, version: $version, scopes: $scopes, only: $only };
        }
        resource!(@above $name [$($above)?]);
    };
    (@above $name:ident []) => {
        impl $crate::arm::TopLevel for $name {}
    };
    (@above $name:ident [$above:ty]) => {
        impl $crate::arm::Child for $name {
            type Parent = $above;
        }
    };
}

mod generated;

pub use generated::*;

use crate::arm::{Bound, Kind, Text};

object! {
    /// What `subscription()` gives.
    Subscription {} {} {
        /// `/subscriptions/{UUID}`.
        id: Text = "id",
        /// The UUID.
        subscription_id: Text = "subscriptionId",
        /// The tenant's UUID.
        tenant_id: Text = "tenantId",
    }
}

object! {
    /// What `resourceGroup()` gives.
    ResourceGroupInfo {} {} {
        /// Its id.
        id: Text = "id",
        /// Its name.
        name: Text = "name",
        /// Its region.
        location: Text = "location",
    }
}

object! {
    /// What `environment()` gives.
    Environment {} {} {
        /// How one signs in.
        authentication: EnvironmentAuthentication = "authentication",
    }
}

object! {
    /// How one signs in to a cloud.
    EnvironmentAuthentication {} {} {
        /// `https://login.microsoftonline.com/` in the public cloud.
        login_endpoint: Text = "loginEndpoint",
    }
}

object! {
    /// What `tenant()` gives.
    Tenant {} {} {
        /// The tenant's UUID.
        tenant_id: Text = "tenantId",
    }
}

/// What literals may be in resources of a type.
pub(crate) fn bounds(kind: &str) -> impl Iterator<Item = &'static Bound> {
    generated::BOUNDS.iter().filter(move |bound| bound.kind == kind)
}

/// What is known of a type of resource, by its name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    generated::KINDS.iter().copied().find(|kind| kind.name == name)
}
